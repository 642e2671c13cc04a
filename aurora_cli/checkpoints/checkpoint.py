"""A captioner on disk in any layout, opened as one thing: its config, its weights by canonical name, how it merges.

run           runs/<stage>                          its newest checkpoint
checkpoint    runs/<stage>/checkpoints/step-*       trained weights over the chain of what they started from
huggingface   transformers' LLaVA
xtuner        the original's: language model at the root (or in llm/), visual_encoder/, projector/
official      haotian-liu's LLaVA
state_dict    a .pth, .bin or .safetensors of the original's training; frozen parts come from `base`
zero          a folder of DeepSpeed's ZeRO; frozen parts likewise
adapter       peft's folder of low-rank adapters, over the model they were made for
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError
from transformers import LlavaConfig

from aurora_cli.checkpoints import blueprint
from aurora_cli.checkpoints.facts import FACTS_FILE, Prompting, StageHistory, WeightFacts
from aurora_cli.checkpoints.lazy_tensors import Tensors
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import ModelSettings
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import JsonObject, read_object
from aurora_cli.models.parts import Part

Kind = Literal["run", "checkpoint", "huggingface", "xtuner", "official", "state_dict", "zero", "adapter", "parts"]

ORIGINAL_MERGING = TokenMerging(kept_ratio=1.0, schedule="constant", proportional_attention=False)
"""What weights were trained with that say nothing about it: the original's semantics, nothing merged."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")


@dataclass(frozen=True)
class Checkpoint:
    """A captioner whose weights have not been read yet."""

    path: Path
    kind: Kind
    tensors: Tensors
    config: LlavaConfig
    model: ModelSettings
    merging: TokenMerging
    tokenizer: str | None
    """Folder or hub id; none: nobody said which."""
    history: tuple[StageHistory, ...] = ()
    """The stages that made it, oldest first."""
    notes: tuple[str, ...] = ()
    """What a user should know of how it was read."""
    prompting: Prompting | None = None
    """How it is asked; none: nobody said."""
    described_by: tuple[Path, ...] = ()
    """Files other than weights that say what it is."""

    @property
    def files(self) -> list[Path]:
        """Everything that it is made of; if none changed, neither did it."""
        return sorted({tensor.file for tensor in self.tensors.values()} | set(self.described_by))

    def check(self, may_lack: frozenset[Part] = frozenset()) -> None:
        """Raise DataError unless every weight is there in its shape, and no other."""
        blueprint.check(str(self.path), self.tensors, self.config, may_lack)


class Origin(NamedTuple):
    """What the caller knows that a checkpoint may not say itself."""

    root: Path | None = None
    """Where relative names start (the workspace); none: the current folder."""
    base: str | None = None
    """Where parts come from that the checkpoint lacks; none: what it says itself, else `model`."""
    model: ModelSettings | None = None


def with_facts(
    path: Path,
    kind: Kind,
    tensors: Tensors,
    config: LlavaConfig,
    model: ModelSettings,
    merging: Mapping[str, Any] | None = None,
    tokenizer_folders: tuple[Path, ...] = (),
    tokenizer: str | None = None,
) -> Checkpoint:
    """An exported or published folder, with what is stored beside its weights."""
    facts_file = path / FACTS_FILE
    facts = WeightFacts.read_if_there(facts_file) or WeightFacts()
    stored = facts.merging or _merging(path, merging)
    folders = tokenizer_folders or (path,)
    own = next((folder for folder in folders if any((folder / name).exists() for name in _TOKENIZER_FILES)), None)
    return Checkpoint(
        path=path,
        kind=kind,
        tensors=tensors,
        config=config,
        model=facts.model or model,
        merging=stored or ORIGINAL_MERGING,
        tokenizer=str(own) if own else tokenizer,
        history=facts.history,
        notes=() if stored else (unsaid(path),),
        prompting=facts.prompting,
        described_by=tuple(file for file in (path / "config.json", facts_file) if file.exists()),
    )


def _merging(path: Path, stored: Mapping[str, Any] | None) -> TokenMerging | None:
    try:
        return TokenMerging.model_validate(stored) if stored else None
    except ValidationError as error:
        raise DataError(f"{path / 'config.json'}: its merging is not ours: {error}") from error


def image_settings(path: Path, vision_config: Mapping[str, Any], feature_layer: int = -2) -> ModelSettings:
    """Images' size and colours as an image processor's file says, wherever the layout keeps it."""
    values: dict[str, Any] = {
        "vision_tower": "",
        "language_model": "",
        "image_size": vision_config.get("image_size", 336),
        "feature_layer": feature_layer,
    }
    for folder in (path, path / "visual_encoder", path / "vision_tower"):
        for name in ("preprocessor_config.json", "processor_config.json"):
            if (folder / name).exists():
                stored = read_object(folder / name)
                stored = stored.get("image_processor", stored)
                values |= {key: tuple(stored[key]) for key in ("image_mean", "image_std") if stored.get(key)}
                return ModelSettings.model_validate(values)
    return ModelSettings.model_validate(values)


def unsaid(path: Path) -> str:
    return (
        f"{path.name} does not say how its visual tokens were merged: taken as the original's "
        f"(schedule constant, no proportional attention, kept ratio 1.0 unless you say another)"
    )


def read_config(folder: Path) -> JsonObject:
    """A folder's config.json."""
    return read_object(folder / "config.json")
