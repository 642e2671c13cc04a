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

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError
from transformers import LlavaConfig

from aurora_cli.checkpoints import blueprint, names
from aurora_cli.checkpoints.fingerprint import FACTS_FILE
from aurora_cli.checkpoints.lazy_tensors import Tensors
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import ModelSettings
from aurora_cli.errors import DataError

Kind = Literal["run", "checkpoint", "huggingface", "xtuner", "official", "state_dict", "zero", "adapter", "parts"]

ORIGINAL_MERGING = TokenMerging(kept_ratio=1.0, schedule="constant", proportional_attention=False)
"""What weights were trained with that say nothing about it: the original's semantics, nothing merged."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")


class Prompting(NamedTuple):
    """How training wrote out what a model is asked."""

    template: str
    frames: int
    """Taken from a video."""


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
    history: tuple[dict[str, Any], ...] = ()
    """The stages that made it, oldest first: stage, step, steps, trained, data (`provenance`)."""
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

    def check(self, may_lack: frozenset[names.Part] = frozenset()) -> None:
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
    facts = read_json(facts_file) if facts_file.exists() else {}
    try:
        stored = facts.get("merging") or merging
        chosen = TokenMerging.model_validate(stored) if stored else ORIGINAL_MERGING
        model = ModelSettings.model_validate(facts["model"]) if "model" in facts else model
        prompting = Prompting(**facts["prompting"]) if facts.get("prompting") else None
    except (ValidationError, TypeError) as error:
        raise DataError(f"{path}: what it says of its merging, model or prompts is not ours: {error}") from error
    folders = tokenizer_folders or (path,)
    own = next((folder for folder in folders if any((folder / name).exists() for name in _TOKENIZER_FILES)), None)
    return Checkpoint(
        path=path,
        kind=kind,
        tensors=tensors,
        config=config,
        model=model,
        merging=chosen,
        tokenizer=str(own) if own else tokenizer,
        history=tuple(facts.get("history", ())),
        notes=() if stored else (unsaid(path),),
        prompting=prompting,
        described_by=tuple(file for file in (path / "config.json", facts_file) if file.exists()),
    )


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
                stored = read_json(folder / name)
                stored = stored.get("image_processor", stored)
                values |= {key: tuple(stored[key]) for key in ("image_mean", "image_std") if stored.get(key)}
                return ModelSettings.model_validate(values)
    return ModelSettings.model_validate(values)


def unsaid(path: Path) -> str:
    return (
        f"{path.name} does not say how its visual tokens were merged: taken as the original's "
        f"(schedule constant, no proportional attention, kept ratio 1.0 unless you say another)"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's config.json."""
    return read_json(folder / "config.json")


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: is missing") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}; a mapping was expected")
    return content
