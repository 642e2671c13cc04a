"""A captioner on disk in any layout, opened as one thing: its config, its weights by canonical name, how it merges.

run           runs/<stage>                          its newest checkpoint
checkpoint    runs/<stage>/checkpoints/step-*       trained weights over the chain of what they started from
huggingface   transformers' LLaVA
xtuner        the original's: language model at the root (or in llm/), visual_encoder/, projector/
official      haotian-liu's LLaVA
state_dict    a .pth, .bin or .safetensors of the original's training; frozen parts come from `base`
zero          a folder of DeepSpeed's ZeRO; frozen parts likewise
adapter       peft's folder of low-rank adapters, over the model they were made for
parts         a vision tower and a language model; there is no projector
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from transformers import LlavaConfig

from aurora_cli.checkpoints import blueprint
from aurora_cli.checkpoints.facts import Prompting, StageHistory
from aurora_cli.checkpoints.lazy_tensors import Tensors
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import ModelSettings
from aurora_cli.models.parts import Part

Kind = Literal["run", "checkpoint", "huggingface", "xtuner", "official", "state_dict", "zero", "adapter", "parts"]

ORIGINAL_MERGING = TokenMerging(kept_ratio=1.0, schedule="constant", proportional_attention=False)
"""Of weights that do not say how they were trained: the original's semantics, nothing merged."""


_PARTED = (
    "embedding and head are two weights, though the config says that they are one (tie_word_embeddings): both are kept"
)


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A captioner whose weights have not been read yet."""

    path: Path
    kind: Kind
    tensors: Tensors
    """By canonical name."""
    config: LlavaConfig
    model: ModelSettings
    merging: TokenMerging
    tokenizer: str | None
    """Folder or hub id; none: not known."""
    history: tuple[StageHistory, ...] = ()
    """The stages that made it, oldest first."""
    notes: tuple[str, ...] = ()
    """What a user should know of how it was read."""
    prompting: Prompting | None = None
    """None: not known."""
    trained_ratios: tuple[float, ...] = ()
    """The kept ratios that one training had, ascending, of which `merging` has the largest; none: it has the only one.
    """
    described_by: tuple[Path, ...] = ()
    """Files, besides those of the tensors, that make it what it is."""

    @property
    def files(self) -> list[Path]:
        """Everything that it is made of; if none changed, neither did it."""
        return sorted({tensor.file for tensor in self.tensors.values()} | set(self.described_by))

    def tied_as_stored(self) -> "OpenedCheckpoint":
        """With embedding and head tied only if they are one weight; a note where the config says otherwise."""
        config, tensors = blueprint.tied_as_stored(self.config, self.tensors)
        if config is self.config and tensors is self.tensors:
            return self
        parted = bool(self.config.tie_word_embeddings) and not config.tie_word_embeddings
        return replace(self, config=config, tensors=tensors, notes=(*self.notes, _PARTED) if parted else self.notes)

    def check(self, may_lack: frozenset[Part] = frozenset()) -> None:
        """Raise DataError unless every weight is there in its shape, and no other."""
        blueprint.check(str(self.path), self.tensors, self.config, may_lack)


class OpenOptions(NamedTuple):
    """What the caller knows that a checkpoint may not say itself."""

    root: Path | None = None
    """Where relative names start (the workspace); none: the current folder."""
    base: str | None = None
    """Where parts come from that the checkpoint lacks; none: what it says itself, else `model`."""
    model: ModelSettings | None = None

    @property
    def for_base(self) -> "OpenOptions":
        """What the base itself is opened with."""
        return self._replace(base=None)


def merging_unknown(path: Path) -> str:
    """The note on weights that do not say how their visual tokens merge."""
    return (
        f"{path.name} does not say how its visual tokens were merged: taken as the original's "
        f"(schedule constant, no proportional attention, kept ratio 1.0 unless you say another)"
    )
