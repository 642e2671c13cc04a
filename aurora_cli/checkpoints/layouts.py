"""Folders of other programs: which of their files says what, and which weights are whose.

huggingface   transformers' LLaVA: config.json with vision_config and text_config
official      haotian-liu's LLaVA: config.json with mm_vision_tower
xtuner        the original's: the language model at the root (or in llm/), visual_encoder/, projector/, llm_adapter/
parts         a vision tower and a language model, each in a folder of its own
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError
from transformers import LlavaConfig

from aurora_cli.checkpoints import blueprint, foreign, names
from aurora_cli.checkpoints.adapters import merging as adapters
from aurora_cli.checkpoints.checkpoint import ORIGINAL_MERGING, Kind, OpenedCheckpoint, merging_unknown
from aurora_cli.checkpoints.facts import FACTS_FILE, WeightFacts
from aurora_cli.checkpoints.lazy_tensors import Tensors, rename
from aurora_cli.checkpoints.locate import locate, refuse_gguf
from aurora_cli.checkpoints.stated import towers
from aurora_cli.checkpoints.stated.processors import pixels_note
from aurora_cli.checkpoints.stated.towers import CONFIG_FILE
from aurora_cli.checkpoints.weight_files import has_weights, open_weights
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import ModelSettings
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import JsonObject, read_object
from aurora_cli.models.parts import PARTS

OpenBase = Callable[[], OpenedCheckpoint]
"""Opens what has the parts that a folder lacks."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")
_XTUNER_ADAPTERS = {"llm_adapter": "llm.", "visual_encoder_adapter": "visual_encoder."}
"""Where the original keeps adapters, and whose they are."""


def is_huggingface(path: Path) -> bool:
    return (path / CONFIG_FILE).is_file() and {"vision_config", "text_config"} <= read_config(path).keys()


def is_official(path: Path) -> bool:
    return (path / CONFIG_FILE).is_file() and "mm_vision_tower" in read_config(path)


def is_xtuner(path: Path) -> bool:
    return (path / "projector").is_dir()


def open_huggingface(path: Path) -> OpenedCheckpoint:
    config = read_config(path)
    foreign.check_huggingface(path, config)
    try:
        llava = LlavaConfig.from_dict({key: value for key, value in config.items() if key != "auto_map"})
    except Exception as error:  # each version checks configs with other exceptions
        raise DataError(f"{path / CONFIG_FILE}: {error}") from error
    values = llava.to_dict()
    vision, text = values["vision_config"], values["text_config"]
    blueprint.check_kinds(
        vision, text, tower=f"{path}: its tower", language=f"{path}: its language model", in_llava=True
    )
    model = _image_settings(path, vision, llava.vision_feature_layer)
    llava.vision_feature_layer = model.feature_layer
    tensors = rename(open_weights(path), names.canonical)
    return _with_facts(path, "huggingface", tensors, llava, model, _tokenizer_in(path), config.get("merging"))


def open_official(path: Path, root: Path | None, open_base: OpenBase) -> OpenedCheckpoint:
    """A folder of haotian-liu's LLaVA; a tower that only has a name is looked for from `root` on, or on the hub."""
    config = read_config(path)
    text_type = foreign.check_official(path, config)
    vision_config = config.get("vision_config")
    if vision_config is None:
        vision_config = towers.vision_config_of(read_config(locate(config["mm_vision_tower"], root)))
    text_config = {key: value for key, value in config.items() if not key.startswith("mm_") and key != "vision_config"}
    text_config["model_type"] = text_type
    model = _image_settings(path, vision_config, config.get("mm_vision_select_layer", -2))
    llava = blueprint.llava_config(vision_config, text_config, model)
    tensors = rename(open_weights(path), names.canonical)
    return _with_missing_parts(_with_facts(path, "official", tensors, llava, model, _tokenizer_in(path)), open_base)


def open_xtuner(path: Path, open_base: OpenBase) -> OpenedCheckpoint:
    root = path if has_weights(path) else path / "llm"
    tensors = {
        **_open_part(root, "llm."),
        **_open_part(path / "visual_encoder", "visual_encoder."),
        **_open_part(path / "projector", "projector."),
    }
    vision_file, text_file = path / "visual_encoder" / CONFIG_FILE, root / CONFIG_FILE
    if vision_file.exists() and text_file.exists():
        vision_config = towers.vision_config_of(read_object(vision_file))
        model = _image_settings(path, vision_config)
        llava = blueprint.llava_config(vision_config, read_object(text_file), model)
        opened = _with_facts(path, "xtuner", tensors, llava, model, _tokenizer_in(path, root))
        opened = _with_missing_parts(opened, open_base)
    else:
        base = open_base()
        tokenizer = _tokenizer_in(path) or base.tokenizer
        own = blueprint.under_embedding(base.config, tensors)
        opened = _with_facts(path, "xtuner", {**base.tensors, **own}, base.config, base.model, tokenizer)
    for folder, prefix in _XTUNER_ADAPTERS.items():
        if adapters.is_adapter_folder(path / folder):
            own = adapters.open_adapter(path / folder, _within(prefix))
            opened = adapters.with_adapters(opened, own, path / folder / adapters.CONFIG_FILE)
    return opened


def open_parts(
    vision_tower: str | None, language_model: str | None, model: ModelSettings, root: Path | None
) -> OpenedCheckpoint:
    """A vision tower and a language model from folders or hub ids; there is no projector yet."""
    if not vision_tower or not language_model:
        raise DataError(
            "neither a base nor model.vision_tower and model.language_model say where frozen parts come from"
        )
    vision, language = locate(vision_tower, root), locate(language_model, root)
    refuse_gguf(language_model, language)
    vision_config = towers.vision_config_of(read_config(vision))
    text_config = read_config(language)
    config = blueprint.llava_config(vision_config, text_config, model, tower=str(vision), language=str(language))
    return OpenedCheckpoint(
        path=language,
        kind="parts",
        tensors={
            **rename(_tower_of(open_weights(vision)), _within("visual_encoder.")),
            **rename(open_weights(language), _within("llm.")),
        },
        config=config,
        model=model,
        merging=TokenMerging(),
        tokenizer=model.tokenizer or str(language),
        described_by=(vision / CONFIG_FILE, language / CONFIG_FILE),
    ).tied_as_stored()


def read_config(folder: Path) -> JsonObject:
    return read_object(folder / CONFIG_FILE)


def _open_part(folder: Path, prefix: str) -> Tensors:
    """The weights of one part; none where there is no such folder."""
    return rename(open_weights(folder), _within(prefix)) if has_weights(folder) else {}


def _within(prefix: str) -> Callable[[str], str | None]:
    """What gives the canonical name to a tensor of the part that `prefix` stands for."""
    return lambda name: names.canonical(prefix + name)


def _tower_of(tensors: Tensors) -> Tensors:
    """Of a contrastive model or a classifier only the vision tower; a tower's own file is taken whole."""
    tower = {name: tensor for name, tensor in tensors.items() if name.startswith(("vision_model.", "dinov2."))}
    return tower or tensors


def _with_missing_parts(checkpoint: OpenedCheckpoint, open_base: OpenBase) -> OpenedCheckpoint:
    present = {names.part_of(name) for name in checkpoint.tensors}
    if present == set(PARTS):
        return checkpoint
    missing = {name: tensor for name, tensor in open_base().tensors.items() if names.part_of(name) not in present}
    return replace(checkpoint, tensors={**checkpoint.tensors, **missing})


def _with_facts(
    path: Path,
    kind: Kind,
    tensors: Tensors,
    config: LlavaConfig,
    model: ModelSettings,
    tokenizer: str | None,
    merging: JsonObject | None = None,
) -> OpenedCheckpoint:
    """With what `aurora.json` says, which counts before the layout's own files."""
    facts = WeightFacts.read_if_there(path / FACTS_FILE) or WeightFacts()
    stored = facts.merging or _merging(path, merging)
    note = pixels_note(path)
    return OpenedCheckpoint(
        path=path,
        kind=kind,
        tensors=tensors,
        config=config,
        model=facts.model or model,
        merging=stored or ORIGINAL_MERGING,
        trained_ratios=facts.trained_ratios,
        tokenizer=tokenizer,
        history=facts.history,
        notes=(*(() if stored else (merging_unknown(path),)), *(() if note is None else (note,))),
        prompting=facts.prompting,
        described_by=tuple(file for file in (path / CONFIG_FILE, path / FACTS_FILE) if file.exists()),
    ).tied_as_stored()


def _merging(path: Path, stored: JsonObject | None) -> TokenMerging | None:
    try:
        return TokenMerging.model_validate(stored) if stored else None
    except ValidationError as error:
        raise DataError(f"{path / CONFIG_FILE}: its merging is not ours: {error}") from error


def _tokenizer_in(*folders: Path) -> str | None:
    """The first of the folders with a tokenizer."""
    return next((str(folder) for folder in folders if any((folder / name).exists() for name in _TOKENIZER_FILES)), None)


def _image_settings(path: Path, vision_config: Mapping[str, object], feature_layer: object = -2) -> ModelSettings:
    """Images' size and colours as an image processor's file says, wherever the layout keeps it."""
    pixels = towers.stated_pixels(towers.processor_folders(path), vision_config)
    layers = int(str(vision_config.get("num_hidden_layers", 12)))
    return ModelSettings(
        vision_tower="",
        language_model="",
        image_size=pixels.size,
        image_mean=pixels.mean,
        image_std=pixels.std,
        feature_layer=foreign.feature_layer(path, feature_layer, layers),
    )
