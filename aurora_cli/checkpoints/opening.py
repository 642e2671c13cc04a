"""Opening a checkpoint of any kind: which kind it is, and what its weights lie over."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import yaml
from pydantic import ValidationError
from transformers import LlavaConfig

from aurora_cli.checkpoints import blueprint, foreign, names, provenance, zero
from aurora_cli.checkpoints.adapters import merging as adapters
from aurora_cli.checkpoints.blueprint import with_vocabulary
from aurora_cli.checkpoints.checkpoint import ORIGINAL_MERGING, Kind, OpenedCheckpoint, OpenOptions, merging_unknown
from aurora_cli.checkpoints.facts import Prompting, StageHistory
from aurora_cli.checkpoints.layouts import (
    is_huggingface,
    is_official,
    is_xtuner,
    open_huggingface,
    open_official,
    open_parts,
    open_xtuner,
)
from aurora_cli.checkpoints.lazy_tensors import LazyTensor, Tensors, rename
from aurora_cli.checkpoints.locate import locate, refuse_llama_cpps
from aurora_cli.checkpoints.weight_files import open_weights
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io import yaml_files
from aurora_cli.io.json_files import read_object
from aurora_cli.models.layers.quantized import Bits, dequantized
from aurora_cli.runs.checkpoints import newest
from aurora_cli.runs.layout import CHECKPOINTS, CONFIG_FILE, METADATA_FILE, MODEL_FILE
from aurora_cli.runs.metadata import CheckpointMetadata

NO_OPTIONS = OpenOptions()


def open_checkpoint(name: str | Path, options: OpenOptions = NO_OPTIONS) -> OpenedCheckpoint:
    """Open a checkpoint of any kind.

    Raises:
        DataError: there is none, it is damaged, or no weights for a part of it can be found.
    """
    path = locate(name, options.root)
    opener = next((open_it for fits, open_it in _KINDS if fits(path)), None)
    if opener is None:
        refuse_llama_cpps(name, path)
        foreign.refuse_unknown(path)
        expected = "A run, a checkpoint, an xtuner or huggingface folder, a DeepSpeed folder or a .pth was expected."
        hint = f"{path.parent} is one: its newest checkpoint is taken." if path.name == CHECKPOINTS else expected
        raise DataError(f"{path}: is not a checkpoint", hint=hint)
    return opener(path, options)


def _open_run(path: Path, options: OpenOptions) -> OpenedCheckpoint:
    checkpoint = newest(path / CHECKPOINTS)
    if checkpoint is None:
        raise DataError(f"{path}: this run has no checkpoint yet", hint=f"aurora train --stage {path.name}")
    return replace(_open_step(checkpoint, options), path=path, kind="run")


def _open_step(path: Path, options: OpenOptions, seen: tuple[Path, ...] = ()) -> OpenedCheckpoint:
    metadata = CheckpointMetadata.read(path / METADATA_FILE)
    model = metadata.model
    stage = StageHistory(
        stage=metadata.stage,
        step=metadata.step,
        steps=metadata.steps,
        trained=metadata.trained,
        data=provenance.data_of(path, options.root),
    )
    base_name = options.base or metadata.base
    scales = {part: lora.alpha / lora.rank for part, lora in metadata.lora.items()}
    if isinstance(base_name, Mapping):
        base = open_parts(base_name.get("vision_tower"), base_name.get("language_model"), model, options.root)
    else:
        base = _open_start(path, base_name, options, seen)
    weights_file = path / MODEL_FILE
    own = rename(open_weights(weights_file), names.canonical)
    under = base.tensors if metadata.quantize_base is None else _quantized(base.tensors, metadata.quantize_base)
    tensors = adapters.merged(under, own, lambda name, _: scales[names.part_of(name)])
    return replace(
        base,
        path=path,
        kind="checkpoint",
        tensors=tensors,
        config=_grown(base.config, tensors),
        model=model,
        merging=metadata.merging,
        trained_ratios=metadata.trained_ratios,
        tokenizer=model.tokenizer or base.tokenizer,
        history=(*base.history, stage),
        notes=(),
        prompting=_prompting(path.parents[1] / CONFIG_FILE) or base.prompting,
        described_by=(*base.described_by, path / METADATA_FILE, weights_file),
    )


def _quantized(tensors: Tensors, bits: Bits) -> Tensors:
    """With what a run computed with whose base was in few bits: other values in the language model's layers."""
    return {
        name: tensor.with_values(partial(_dequantized, tensor, bits))
        if names.part_of(name) == "language_model" and ".layers." in name and len(tensor.shape) == 2
        else tensor
        for name, tensor in tensors.items()
    }


def _dequantized(tensor: LazyTensor, bits: Bits) -> torch.Tensor:
    return dequantized(tensor.read(), bits).to(tensor.dtype)


def _grown(config: LlavaConfig, tensors: Tensors) -> LlavaConfig:
    """With as many embeddings as a stage made (`train.grow_vocabulary`)."""
    rows = tensors[names.EMBEDDING].shape[0] if names.EMBEDDING in tensors else 0
    return with_vocabulary(config, rows) if rows > config.get_text_config().vocab_size else config


def _prompting(config: Path) -> Prompting | None:
    """What a run's resolved settings say of the texts it was trained on."""
    if not config.is_file():
        return None
    try:
        tokenize = yaml_files.safe_load(config.read_text(encoding="utf-8"))["tokenize"]
        return Prompting(template=tokenize["template"], frames=tokenize["frames"])
    except (yaml.YAMLError, KeyError, TypeError, ValidationError) as error:
        raise DataError(f"{config}: is not what a run writes: {error}") from error


def _open_start(path: Path, name: str, options: OpenOptions, seen: tuple[Path, ...]) -> OpenedCheckpoint:
    """What a run started from; its name starts at the workspace, which is above the run if nobody says where it is."""
    resolved = path.resolve()
    if resolved in seen:
        raise DataError(f"{path}: the chain of what it started from runs in a circle")
    above = [parent / name for parent in resolved.parents]
    found = next((folder for folder in above if folder.exists()), None)
    try:
        base = locate(found or name, options.root)
    except (DataError, UsageError) as error:
        raise DataError(
            f"{path}: its frozen parts come from {name}, which is not there",
            hint="Put it back, or name a folder with these parts by --base.",
        ) from error
    if (base / METADATA_FILE).exists():
        return _open_step(base, options.for_base, (*seen, resolved))
    return open_checkpoint(base, options.for_base)


def adapter_base(path: Path, options: OpenOptions) -> OpenedCheckpoint:
    """What a folder of peft's was made for: the base that the user names, or it names itself.

    Raises:
        DataError: neither does, or it is damaged.
    """
    named = options.base or read_object(path / adapters.CONFIG_FILE).get("base_model_name_or_path")
    if not named:
        raise DataError(f"{path}: holds an adapter alone", hint="Name the model it was made for by --base.")
    try:
        return open_checkpoint(named, options.for_base)
    except DataError as error:
        if options.base:
            raise
        hint = error.hint or "Name the model it was made for by --base."
        raise DataError(
            f"{path}: the base that its {adapters.CONFIG_FILE} names: {error.message}", hint=hint
        ) from error


def _open_adapter(path: Path, options: OpenOptions) -> OpenedCheckpoint:
    base = adapter_base(path, options)
    own = adapters.open_adapter(path, _of_any_part)
    return replace(adapters.with_adapters(base, own, path / adapters.CONFIG_FILE), path=path, kind="adapter")


def _of_any_part(name: str) -> str | None:
    """The name in the whole model, of what may have been made for its vision tower alone."""
    of_tower = name.startswith(("vision_model.", "encoder.layer."))
    return names.canonical(f"visual_encoder.{name}" if of_tower else name)


def _open_state_dict(path: Path, options: OpenOptions) -> OpenedCheckpoint:
    return _over_base(path, "state_dict", rename(open_weights(path), _trained), options)


def _open_zero(path: Path, options: OpenOptions) -> OpenedCheckpoint:
    return _over_base(path, "zero", rename(zero.open_zero(path), _trained), options)


def _trained(name: str) -> str | None:
    return names.canonical(adapters.plain_name(name))


def _over_base(path: Path, kind: Kind, own: Tensors, options: OpenOptions) -> OpenedCheckpoint:
    """The state of a training over the parts that it left as they were."""
    base = _base_of(path, options)
    says_merging = base.kind != "parts"
    opened = replace(
        base,
        path=path,
        kind=kind,
        model=options.model or base.model,
        merging=base.merging if says_merging else ORIGINAL_MERGING,
        trained_ratios=base.trained_ratios if says_merging else (),
        tokenizer=(options.model and options.model.tokenizer) or base.tokenizer,
        notes=base.notes if says_merging else (merging_unknown(path),),
    )
    if not adapters.has_adapters(own):
        own = blueprint.under_embedding(base.config, own)
        return replace(opened, tensors={**base.tensors, **own}).tied_as_stored()
    config_file = path.with_name(adapters.CONFIG_FILE)
    if not config_file.is_file():
        raise DataError(
            f"{path}: holds low-rank adapters and does not say their alpha",
            hint=f'Put {config_file.name} beside it: {{"peft_type": "LORA", "r": 64, "lora_alpha": 16}}',
        )
    return adapters.with_adapters(opened, own, config_file)


def _base_of(path: Path, options: OpenOptions) -> OpenedCheckpoint:
    """Where parts come from that `path` lacks: what the caller says, the folder it lies in, or the preset's models."""
    if options.base is not None:
        return open_checkpoint(options.base, options.for_base)
    if path.is_file() and any(fits(path.parent) for fits, _ in _KINDS):
        return open_checkpoint(path.parent, options.for_base)
    if options.model is None:
        raise DataError(f"{path}: holds only a part of a model", hint="Name a folder with the rest of it by --base.")
    return open_parts(options.model.vision_tower, options.model.language_model, options.model, options.root)


Opener = Callable[[Path, OpenOptions], OpenedCheckpoint]

_KINDS: tuple[tuple[Callable[[Path], bool], Opener], ...] = (
    (lambda path: (path / CHECKPOINTS).is_dir(), _open_run),
    (lambda path: (path / METADATA_FILE).is_file(), _open_step),
    (adapters.is_adapter_folder, _open_adapter),
    (zero.is_zero, _open_zero),
    (is_official, lambda path, options: open_official(path, options.root, partial(_base_of, path, options))),
    (is_huggingface, lambda path, _: open_huggingface(path)),
    (is_xtuner, lambda path, options: open_xtuner(path, partial(_base_of, path, options))),
    (lambda path: path.is_file() and path.suffix in (".pth", ".pt", ".bin", ".safetensors"), _open_state_dict),
)
"""How a kind is recognised, and what opens it; the first that fits decides."""
