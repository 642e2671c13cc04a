"""What decides a caption, beside the model's weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from pydantic import ValidationError

from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.preparing import TokenizeSettings
from aurora_cli.config.training import DataSettings
from aurora_cli.config.using import CaptionSettings
from aurora_cli.data.media.decoders.sampling import Sampling
from aurora_cli.data.media.kinds import MediaKind
from aurora_cli.data.tokenization.prompt import check_prompt
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE
from aurora_cli.data.tokenization.tokenizer import chat_template_of, object_in
from aurora_cli.errors import UsageError
from aurora_cli.io.json_files import JsonObject

if TYPE_CHECKING:
    from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint

_MERGING = {"token_kept_ratio": "kept_ratio", "slowfast": "slowfast"}
"""Settings of `caption` that are fields of `TokenMerging`."""


class Decoding(NamedTuple):
    """How a caption's tokens are generated."""

    max_new_tokens: int
    temperature: float
    top_p: float
    num_beams: int
    seed: int


class CaptionOptions(NamedTuple):
    """Everything that a caption depends on beside the weights. Two captions with equal options are equal."""

    merging: TokenMerging
    template: str
    frames: int
    """Frames of a video."""
    sampling: Sampling
    prompt: str
    """The question about an image."""
    clip_prompt: str
    """The question about a video."""
    decoding: Decoding

    def question(self, kind: MediaKind) -> str:
        return self.clip_prompt if kind == "video" else self.prompt

    def changed(self, changes: Mapping[str, object]) -> Self:
        """With other values, by the names of `aurora caption`'s settings; None leaves a value as it is.

        Settings that no caption depends on (`batch_size`) are checked, and change nothing.

        Raises:
            UsageError: a value outside the setting's range.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        try:
            checked = CaptionSettings.model_validate(given)
        except ValidationError as error:
            finding = error.errors(include_url=False)[0]
            name = ".".join(map(str, finding["loc"]))
            raise UsageError(f"{name} is {finding['input']!r}: {finding['msg']}") from error
        values = {name: getattr(checked, name) for name in given}
        merging = {field: values[name] for name, field in _MERGING.items() if name in values}
        decoding = {name: values[name] for name in Decoding._fields if name in values}
        own = {name: values[name] for name in self._fields if name in values}
        return self._replace(
            merging=self.merging.model_copy(update=merging), decoding=self.decoding._replace(**decoding), **own
        )

    def to_json(self) -> JsonObject:
        """The object that is written beside captions; the same one as ever, so that captions are made once."""
        return {
            **self._asdict(),
            "merging": self.merging.model_dump(mode="json"),
            "decoding": self.decoding._asdict(),
        }


def is_foreign(checkpoint: "OpenedCheckpoint") -> bool:
    """Whether it is a LLaVA of transformers' that others trained, and brings its own chat template."""
    if checkpoint.kind != "huggingface" or checkpoint.prompting is not None or checkpoint.tokenizer is None:
        return False
    folder = Path(checkpoint.tokenizer)
    return chat_template_of(folder, object_in(folder / "tokenizer_config.json")) is not None


def _template(checkpoint: "OpenedCheckpoint", tokenize: TokenizeSettings) -> str:
    """That of training; of a model of others' its own, unless the user names one."""
    if checkpoint.prompting is not None:
        return checkpoint.prompting.template
    is_named = "template" in tokenize.model_fields_set
    return OWN_TEMPLATE if is_foreign(checkpoint) and not is_named else tokenize.template


def options_of(
    checkpoint: "OpenedCheckpoint", caption: CaptionSettings, tokenize: TokenizeSettings, data: DataSettings
) -> CaptionOptions:
    """What the user names, else what the model was trained with, else the settings of training.

    Raises:
        UsageError: a question holds a placeholder.
    """
    for name in ("prompt", "clip_prompt"):
        check_prompt(getattr(caption, name), f"caption.{name}")
    trained = checkpoint.prompting
    changes = {field: getattr(caption, name) for name, field in _MERGING.items()}
    changes = {field: value for field, value in changes.items() if value is not None}
    return CaptionOptions(
        merging=checkpoint.merging.model_copy(update=changes),
        template=_template(checkpoint, tokenize),
        frames=caption.frames or (trained.frames if trained else tokenize.frames),
        sampling=Sampling(data.frame_sampling, data.fps),
        prompt=caption.prompt,
        clip_prompt=caption.clip_prompt,
        decoding=Decoding(caption.max_new_tokens, caption.temperature, caption.top_p, caption.num_beams, caption.seed),
    )
