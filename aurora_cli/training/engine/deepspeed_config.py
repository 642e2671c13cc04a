"""Which engine trains, and DeepSpeed's configuration file: read, checked, and filled in from the settings."""

import json
from pathlib import Path

from aurora_cli.config.presets import presets_folder
from aurora_cli.config.section import FixedPrecision, Precision
from aurora_cli.config.training import TrainSettings
from aurora_cli.errors import UsageError
from aurora_cli.io.json_files import JsonObject

ENGINES = ("none", "zero1", "zero2", "zero2_offload", "zero3", "zero3_offload")


def engine_name(train: TrainSettings, world_size: int) -> str:
    """`none` for one process, `zero2` for more, unless the settings say."""
    return train.deepspeed or ("none" if world_size == 1 else "zero2")


_CUT_PLAINLY = {
    "zero_hpz_partition_size": 1,
    "mics_shard_size": -1,
    "zero_quantized_weights": False,
    "zero_quantized_nontrainable_weights": False,
}
"""Options of ZeRO-3 that, unless they say this, cut weights otherwise or change them: DeepSpeed does it, from whole."""


_LEFT_TO_US = {"optimizer": ("Adam", "AdamW"), "scheduler": ("WarmupLR", "WarmupDecayLR", "WarmupCosineLR")}
"""By section of a file, the types that `train.*` stands for: AdamW, and a rate that rises and falls."""


def shares_while_loading(config: JsonObject, world_size: int) -> bool:
    """Whether the processes share weights as these are loaded, or each loads them whole and has them divided then."""
    zero = config["zero_optimization"]
    return (
        zero["stage"] == 3
        and world_size > 1
        and all(zero.get(option, plain) == plain for option, plain in _CUT_PLAINLY.items())
        and _offloads_weights_to(config) != "nvme"
    )


def holds_shares_in_main_memory(config: JsonObject, *, cuda: bool) -> bool:
    """Whether a process's share of the weights (ZeRO-3) lies in main memory, not on its device."""
    return not cuda or _offloads_weights_to(config) == "cpu"


def offloads_optimizer(config: JsonObject) -> bool:
    """Whether moments, fp32 weights and gradients are kept in main memory or on disk."""
    device = (config["zero_optimization"].get("offload_optimizer") or {}).get("device")
    return device in ("cpu", "nvme")


def offloads_weights(config: JsonObject) -> bool:
    """Whether a process's share of the weights (ZeRO-3) is kept in main memory or on disk."""
    return _offloads_weights_to(config) in ("cpu", "nvme")


def _offloads_weights_to(config: JsonObject) -> str | None:
    return (config["zero_optimization"].get("offload_param") or {}).get("device")


def resolved_precision(precision: Precision, *, cuda: bool) -> FixedPrecision:
    if precision == "auto":
        return "bf16" if cuda else "fp32"
    return precision


def read_config(name: str, folder: Path) -> JsonObject | None:
    """DeepSpeed's configuration by an engine's name or a file's path (relative to `folder`); None for `none`.

    Raises:
        UsageError: there is no such engine or file, or the file is not one that aurora can run.
    """
    if name == "none":
        return None
    path = presets_folder() / "deepspeed" / f"{name}.json" if name in ENGINES else folder / name
    if not path.is_file():
        raise UsageError(
            f"train.deepspeed: {name!r} is neither an engine nor a file",
            hint=f"One of {', '.join(ENGINES)}, or a DeepSpeed JSON file.",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(config, dict):
        raise UsageError(f"{path}: expected a JSON object, found {type(config).__name__}")
    for key in ("optimizer", "scheduler"):
        if key in config and not _leaves_all_to_us(key, config.pop(key)):
            raise UsageError(
                f"{path}: has its own {key!r}", hint=f"Remove it: the {key} comes from the train.* settings."
            )
    stage = config.get("zero_optimization", {}).get("stage")
    if stage not in (1, 2, 3):
        raise UsageError(f"{path}: zero_optimization.stage is {stage!r}, expected 1, 2 or 3")
    return config


def _leaves_all_to_us(key: str, section: object) -> bool:
    """Whether a section only says `auto`, as Hugging Face's and LLaVA's files do: who runs the file fills it in."""
    if not isinstance(section, dict) or section.get("type") not in _LEFT_TO_US[key]:
        return False
    return all(value == "auto" for value in section.get("params", {}).values())


def fill_config(
    config: JsonObject,
    *,
    micro: int,
    accumulation: int,
    world: int,
    max_grad_norm: float,
    precision: str,
    hidden_size: int | None = None,
) -> JsonObject:
    """The configuration with what the settings say in place of `auto` or nothing.

    Sizes of buckets that are `auto` come from the width of the language model, by the rule of transformers' Trainer,
    for which such files are written; where it is not known yet, and for any other `auto`, DeepSpeed's default stands.

    Raises:
        UsageError: the file says otherwise than the settings.
    """
    filled = json.loads(json.dumps(config))
    computed = {
        "train_batch_size": micro * accumulation * world,
        "train_micro_batch_size_per_gpu": micro,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": max_grad_norm,
    }
    for key, value in computed.items():
        if filled.get(key, "auto") not in ("auto", value):
            raise UsageError(
                f"the DeepSpeed file says {key} = {filled[key]}, the settings come to {value}",
                hint=f'Write "{key}": "auto" there, and change train.* instead.',
            )
        filled[key] = value
    for kind in ("bf16", "fp16"):
        section = filled.setdefault(kind, {})
        if section.get("enabled", "auto") not in ("auto", precision == kind):
            raise UsageError(
                f"the DeepSpeed file says {kind}.enabled = {section['enabled']}, the settings come to {precision}",
                hint='Write "auto" there, and set train.precision.',
            )
        section["enabled"] = precision == kind
    if hidden_size is not None:
        _fill_bucket_sizes(filled["zero_optimization"], hidden_size)
    _remove_autos(filled)
    filled.setdefault("steps_per_print", 1_000_000_000)
    filled.setdefault("zero_allow_untested_optimizer", True)
    filled.setdefault("zero_force_ds_cpu_optimizer", False)
    return filled


def _fill_bucket_sizes(zero: JsonObject, hidden_size: int) -> None:
    sizes = {"reduce_bucket_size": hidden_size**2}
    if zero["stage"] == 3:
        sizes["stage3_prefetch_bucket_size"] = int(0.9 * hidden_size**2)
        sizes["stage3_param_persistence_threshold"] = 10 * hidden_size
    for key, size in sizes.items():
        if zero.get(key) == "auto":
            zero[key] = size


def _remove_autos(section: JsonObject) -> None:
    for key, value in list(section.items()):
        if value == "auto":
            del section[key]
        elif isinstance(value, dict):
            _remove_autos(value)
