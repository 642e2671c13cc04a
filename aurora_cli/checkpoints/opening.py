"""Opening a checkpoint of any kind: which kind it is, and where its layout keeps things."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import yaml
from transformers import LlavaConfig

from aurora_cli.checkpoints import adapters, blueprint, names, provenance, zero
from aurora_cli.checkpoints.checkpoint import (
    ORIGINAL_MERGING,
    Checkpoint,
    Kind,
    Origin,
    image_settings,
    read_config,
    unsaid,
    with_facts,
)
from aurora_cli.checkpoints.facts import Prompting, StageHistory
from aurora_cli.checkpoints.lazy_tensors import Tensors, rename
from aurora_cli.checkpoints.locate import locate
from aurora_cli.checkpoints.parts import open_part, open_parts, within
from aurora_cli.checkpoints.weight_files import has_weights, open_weights
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.json_files import read_object
from aurora_cli.models.parts import PARTS
from aurora_cli.runs.checkpoints import newest
from aurora_cli.runs.layout import CHECKPOINTS, CONFIG_FILE, METADATA_FILE, MODEL_FILE
from aurora_cli.runs.metadata import CheckpointMetadata

NOTHING_SAID = Origin()

_XTUNER_ADAPTERS = {"llm_adapter": "llm.", "visual_encoder_adapter": "visual_encoder."}
"""Where the original keeps adapters, and whose they are."""


def open_checkpoint(name: str | Path, origin: Origin = NOTHING_SAID) -> Checkpoint:
    """Open a checkpoint of any kind.

    Raises:
        DataError: there is none, it is damaged, or no weights for a part of it can be found.
    """
    path = locate(name, origin.root)
    opener = next((open_it for fits, open_it in _KINDS if fits(path)), None)
    if opener is None:
        expected = "A run, a checkpoint, an xtuner or huggingface folder, a DeepSpeed folder or a .pth was expected."
        hint = f"{path.parent} is one: its newest checkpoint is taken." if path.name == CHECKPOINTS else expected
        raise DataError(f"{path}: is not a checkpoint", hint=hint)
    return opener(path, origin)


def _open_run(path: Path, origin: Origin) -> Checkpoint:
    checkpoint = newest(path / CHECKPOINTS)
    if checkpoint is None:
        raise DataError(f"{path}: this run has no checkpoint yet", hint=f"aurora train --stage {path.name}")
    return replace(_open_step(checkpoint, origin), path=path, kind="run")


def _open_step(path: Path, origin: Origin, seen: tuple[Path, ...] = ()) -> Checkpoint:
    metadata = CheckpointMetadata.read(path / METADATA_FILE)
    model = metadata.model
    stage = StageHistory(
        stage=metadata.stage,
        step=metadata.step,
        steps=metadata.steps,
        trained=metadata.trained,
        data=provenance.data_of(path, origin.root),
    )
    base_name = origin.base or metadata.base
    scales = {part: lora.alpha / lora.rank for part, lora in metadata.lora.items()}
    if isinstance(base_name, Mapping):
        base = open_parts(base_name.get("vision_tower"), base_name.get("language_model"), model, origin.root)
    else:
        base = _open_base(path, base_name, origin, seen)
    weights_file = path / MODEL_FILE
    own = rename(open_weights(weights_file), names.canonical)
    return Checkpoint(
        path=path,
        kind="checkpoint",
        tensors=adapters.merged(base.tensors, own, lambda name: scales[names.part_of(name)]),
        config=base.config,
        model=model,
        merging=metadata.merging,
        tokenizer=model.tokenizer or base.tokenizer,
        history=(*base.history, stage),
        notes=base.notes if base.kind == "parts" else (),
        prompting=_prompting(path.parents[1] / CONFIG_FILE) or base.prompting,
        described_by=(*base.described_by, path / METADATA_FILE, weights_file),
    )


def _prompting(config: Path) -> Prompting | None:
    """What a run's resolved settings say of the texts it was trained on."""
    if not config.is_file():
        return None
    try:
        tokenize = yaml.safe_load(config.read_text(encoding="utf-8"))["tokenize"]
        return Prompting(template=tokenize["template"], frames=tokenize["frames"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(f"{config}: is not what a run writes: {error}") from error


def _open_base(path: Path, name: str, origin: Origin, seen: tuple[Path, ...]) -> Checkpoint:
    """What a run started from; its name starts at the workspace, which is above the run if nobody says where it is."""
    here = path.resolve()
    if here in seen:
        raise DataError(f"{path}: the chain of what it started from runs in a circle")
    above = [parent / name for parent in here.parents]
    found = next((folder for folder in above if folder.exists()), None)
    try:
        base = locate(found or name, origin.root)
    except (DataError, UsageError) as error:
        raise DataError(
            f"{path}: its frozen parts come from {name}, which is not there",
            hint="Put it back, or name a folder with these parts by --base.",
        ) from error
    if (base / METADATA_FILE).exists():
        return _open_step(base, origin._replace(base=None), (*seen, here))
    return open_checkpoint(base, origin._replace(base=None))


def _open_huggingface(path: Path, origin: Origin) -> Checkpoint:
    config = read_config(path)
    vision_config = config.get("vision_config") or {}
    model = image_settings(path, vision_config, feature_layer=config.get("vision_feature_layer", -2))
    try:
        llava = LlavaConfig.from_dict({key: value for key, value in config.items() if key != "auto_map"})
    except Exception as error:  # each version checks configs with other exceptions
        raise DataError(f"{path / 'config.json'}: {error}") from error
    stored = config.get("merging")
    return with_facts(path, "huggingface", rename(open_weights(path), names.canonical), llava, model, stored)


def _open_xtuner(path: Path, origin: Origin) -> Checkpoint:
    root = path if has_weights(path) else path / "llm"
    tensors = {
        **open_part(root, "llm."),
        **open_part(path / "visual_encoder", "visual_encoder."),
        **open_part(path / "projector", "projector."),
    }
    vision_file, text_file = path / "visual_encoder" / "config.json", root / "config.json"
    if vision_file.exists() and text_file.exists():
        vision_config = blueprint.vision_config_of(read_object(vision_file))
        model = image_settings(path, vision_config)
        config = blueprint.llava_config(vision_config, read_object(text_file), model)
        opened = _filled(with_facts(path, "xtuner", tensors, config, model, tokenizer_folders=(path, root)), origin)
    else:
        base = _base_of(path, origin)
        own = {**base.tensors, **tensors}
        opened = with_facts(path, "xtuner", own, base.config, base.model, tokenizer=base.tokenizer)
    for folder, prefix in _XTUNER_ADAPTERS.items():
        if adapters.is_adapter_folder(path / folder):
            opened = _adapted(opened, path / folder, within(prefix))
    return opened


def _open_adapter(path: Path, origin: Origin) -> Checkpoint:
    """A folder of peft's, over the base that the user names or it names itself."""
    named = origin.base or read_object(path / adapters.CONFIG_FILE).get("base_model_name_or_path")
    if not named:
        raise DataError(f"{path}: holds an adapter alone", hint="Name the model it was made for by --base.")
    base = open_checkpoint(named, origin._replace(base=None))
    return replace(_adapted(base, path, _of_any_part), path=path, kind="adapter")


def _adapted(base: Checkpoint, folder: Path, name_of: Callable[[str], str | None]) -> Checkpoint:
    config_file = folder / adapters.CONFIG_FILE
    own = adapters.open_adapter(folder, name_of)
    return replace(
        base,
        tensors=adapters.merged(base.tensors, own, adapters.peft_scale(folder, read_object(config_file))),
        described_by=(*base.described_by, config_file, *{tensor.file for tensor in own.values()}),
    )


def _of_any_part(name: str) -> str | None:
    """The name in the whole model, of what may have been made for its vision tower alone."""
    return names.canonical(f"visual_encoder.{name}" if name.startswith("vision_model.") else name)


def _open_official(path: Path, origin: Origin) -> Checkpoint:
    config = read_config(path)
    vision_config = config.get("vision_config")
    if vision_config is None:
        tower = locate(config["mm_vision_tower"], origin.root)
        vision_config = blueprint.vision_config_of(read_config(tower))
    text_config = {key: value for key, value in config.items() if not key.startswith("mm_") and key != "vision_config"}
    text_config["model_type"] = config.get("text_model_type", "llama")
    model = image_settings(path, vision_config, feature_layer=config.get("mm_vision_select_layer", -2))
    llava = blueprint.llava_config(vision_config, text_config, model)
    return _filled(with_facts(path, "official", rename(open_weights(path), names.canonical), llava, model), origin)


def _open_state_dict(path: Path, origin: Origin) -> Checkpoint:
    return _over_base(path, "state_dict", rename(open_weights(path), _trained), origin)


def _open_zero(path: Path, origin: Origin) -> Checkpoint:
    return _over_base(path, "zero", rename(zero.open_zero(path), _trained), origin)


def _trained(name: str) -> str | None:
    return names.canonical(adapters.plain_name(name))


def _over_base(path: Path, kind: Kind, tensors: Tensors, origin: Origin) -> Checkpoint:
    base = _base_of(path, origin)
    described_by = base.described_by
    if adapters.has_adapters(tensors):
        config_file = path.with_name(adapters.CONFIG_FILE)
        if not config_file.is_file():
            raise DataError(
                f"{path}: holds low-rank adapters and does not say their alpha",
                hint=f'Put {config_file.name} beside it: {{"peft_type": "LORA", "r": 64, "lora_alpha": 16}}',
            )
        scale = adapters.peft_scale(path.parent, read_object(config_file))
        weights = adapters.merged(base.tensors, tensors, scale)
        described_by = (*described_by, config_file, *{tensor.file for tensor in tensors.values()})
    else:
        weights = {**base.tensors, **tensors}
    return Checkpoint(
        path=path,
        kind=kind,
        tensors=weights,
        config=base.config,
        model=origin.model or base.model,
        merging=ORIGINAL_MERGING if base.kind == "parts" else base.merging,
        tokenizer=(origin.model and origin.model.tokenizer) or base.tokenizer,
        history=base.history,
        notes=(unsaid(path),) if base.kind == "parts" else base.notes,
        prompting=base.prompting,
        described_by=described_by,
    )


def _base_of(path: Path, origin: Origin) -> Checkpoint:
    """Where parts come from that `path` lacks: what the caller says, the folder it lies in, or the preset's models."""
    rest = origin._replace(base=None)
    if origin.base is not None:
        return open_checkpoint(origin.base, rest)
    if path.is_file() and any(fits(path.parent) for fits, _ in _KINDS):
        return open_checkpoint(path.parent, rest)
    if origin.model is None:
        raise DataError(f"{path}: holds only a part of a model", hint="Name a folder with the rest of it by --base.")
    return open_parts(origin.model.vision_tower, origin.model.language_model, origin.model, origin.root)


def _filled(checkpoint: Checkpoint, origin: Origin) -> Checkpoint:
    """With the parts that it lacks whole, from the base."""
    there = {names.part_of(name) for name in checkpoint.tensors}
    if there == set(PARTS):
        return checkpoint
    base = _base_of(checkpoint.path, origin)
    extra = {name: tensor for name, tensor in base.tensors.items() if names.part_of(name) not in there}
    return replace(checkpoint, tensors={**checkpoint.tensors, **extra})


def _has_config(path: Path, *, official: bool) -> bool:
    if not (path / "config.json").is_file():
        return False
    config = read_config(path)
    if official:
        return "mm_vision_tower" in config
    return "vision_config" in config and "text_config" in config


_KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path, Origin], Checkpoint]], ...] = (
    (lambda path: (path / CHECKPOINTS).is_dir(), _open_run),
    (lambda path: (path / METADATA_FILE).is_file(), _open_step),
    (adapters.is_adapter_folder, _open_adapter),
    (zero.is_zero, _open_zero),
    (lambda path: _has_config(path, official=True), _open_official),
    (lambda path: _has_config(path, official=False), _open_huggingface),
    (lambda path: (path / "projector").is_dir(), _open_xtuner),
    (lambda path: path.is_file() and path.suffix in (".pth", ".pt", ".bin", ".safetensors"), _open_state_dict),
)
