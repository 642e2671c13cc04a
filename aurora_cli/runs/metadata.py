"""What a run says of itself: in every checkpoint, to those who read weights and to go on from; and at its end."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.training import KeepBest, Lora, ModelSettings
from aurora_cli.io.json_files import JsonObject, StoredModel

Recipe: TypeAlias = Mapping[str, JsonValue]
"""What a run's numbers depend on: settings by dotted path, `start`, and `data folders`."""

RECIPE_START = "start"
RECIPE_DATA = "data folders"
RECIPE_VALIDATION = "validation samples by"
"""Only of runs with `data.validation_share`; those that do not say it were begun by the row."""


class TrainedFolder(NamedTuple):
    """A merged folder that a run reads, as its recipe keeps it."""

    folder: str
    """Relative to the workspace where it lies in one."""
    weight: float
    samples: int


TRAINED_FOLDERS = TypeAdapter(tuple[TrainedFolder, ...])


class ValidationScore(BaseModel):
    """What a checkpoint's weights came to on samples that are not trained on."""

    model_config = ConfigDict(frozen=True)

    loss: float
    """Mean cross-entropy of the target tokens, in nats."""
    samples: int
    target_tokens: int


class EvaluationScore(BaseModel):
    """What captions of some validation samples came to that a checkpoint's weights wrote."""

    model_config = ConfigDict(frozen=True)

    captions: int
    cider: float
    bleu_4: float
    rouge_l: float
    repetition: float


class Measured(NamedTuple):
    """What is known of a checkpoint's weights; none: it was not measured at this step."""

    loss: float | None = None
    """Of the samples of its step."""
    validation: ValidationScore | None = None
    evaluation: EvaluationScore | None = None


NOT_MEASURED = Measured()


class Score(NamedTuple):
    """One metric of a checkpoint."""

    value: float
    over: int
    """Target tokens or captions that it is of."""


class CheckpointMetadata(StoredModel):
    """checkpoint.json: what a checkpoint is, and where the parts come from that it does not hold."""

    WHAT = "what a run writes"
    SCHEMA = 2

    stage: str
    step: int
    steps: int
    """That the run has in all."""
    base: str | dict[str, str]
    """Folder or hub id that the run started from; a hub id for each part where it started from two models."""
    trained: tuple[str, ...]
    """The parts that a checkpoint holds."""
    merging: TokenMerging
    """In a mixture of kept ratios, at the largest."""
    model: ModelSettings
    order_hash: str
    """Over the samples of every step so far, in their order."""
    lora: dict[str, Lora] = Field(default_factory=dict)
    """By part: its low-rank adapters, with the layers that have one."""
    quantize_base: Literal["nf4", "int8"] | None = None
    """What the language model's layers were kept in: what was trained stands on these, not on the base's own."""
    validation: ValidationScore | None = None
    """None: nothing was measured at this step."""
    evaluation: EvaluationScore | None = None
    """None: no captions were written at this step."""
    loss: float | None = None
    """Mean cross-entropy of the target tokens of its own step."""
    keep_best: KeepBest = "validation_loss"
    """What the best of the run's checkpoints is known by."""
    validation_folders: tuple[TrainedFolder, ...] = ()
    """Merged folders that the run is measured on alone; their weight says nothing."""
    trained_ratios: tuple[float, ...] = ()
    """The kept ratios of a mixture, ascending; none: that of `merging` is the only one."""

    def score(self, metric: KeepBest) -> Score | None:
        """None: it was not measured at this step."""
        if metric == "validation_loss":
            return None if self.validation is None else Score(self.validation.loss, self.validation.target_tokens)
        if metric == "loss":
            return None if self.loss is None else Score(self.loss, 0)
        return None if self.evaluation is None else Score(getattr(self.evaluation, metric), self.evaluation.captions)

    def to_json(self) -> JsonObject:
        """Schema 2 only for weights on top of quantized ones, which versions that read up to 1 would add to others."""
        return super().to_json() | {self.SCHEMA_KEY: 1 if self.quantize_base is None else 2}


class TrainState(StoredModel):
    """resume/state.json: how far a run is, and what it must stay true to."""

    WHAT = "the state of a run"
    HINT = "Remove that checkpoint: the run goes on from the one before."

    step: int = 0
    samples_seen: int = 0
    samples_rejected: int = 0
    media_files: int = 0
    """Images, frames and videos that the samples so far are made of."""
    media_unreadable: int = 0
    """Of the rejected samples, those whose media were the reason."""
    loss_ema: float | None = Field(default=None, validation_alias=AliasChoices("loss_ema", "usual_loss"))
    """Running mean of the loss, to know a jump by."""
    order_hash: str = ""
    """Over the samples of every step so far, in their order."""
    recipe: Recipe = Field(default_factory=dict)

    @property
    def data(self) -> tuple[TrainedFolder, ...]:
        """The folders that the run reads, from its recipe."""
        return TRAINED_FOLDERS.validate_python(self.recipe.get(RECIPE_DATA, ()))


class Extent(BaseModel):
    """How long a run is to be."""

    model_config = ConfigDict(frozen=True)

    epochs: float
    max_steps: int | None


class FinishedRun(StoredModel):
    """finished.json: what a run came to."""

    WHAT = "what a finished run writes"

    stage: str
    step: int
    steps: int
    checkpoint: str
    """Name of its last."""
    order_hash: str
    extent: Extent
    """With another one, the run goes on."""
