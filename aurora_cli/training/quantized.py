"""What bitsandbytes is for, and where it cannot be used."""

from importlib.util import find_spec

from aurora_cli.config.training import TrainSettings
from aurora_cli.errors import HostError, UsageError

PACKAGE, EXTRA = "bitsandbytes", "quantized"


def check_quantized(train: TrainSettings, engine: str) -> None:
    """
    Raises:
        UsageError: DeepSpeed is to shard what is kept in few bits.
        HostError: bitsandbytes is wanted, and not installed.
    """
    _check_base(train, engine)
    if train.optimizer == "adamw":
        return
    if engine != "none":
        raise UsageError(
            f"train.optimizer: adamw_8bit cannot be sharded by DeepSpeed ({engine}), which cuts moments anywhere:"
            " those of 8 bits only have a value block by block",
            hint="--deepspeed none (also with several processes), or train.optimizer=adamw",
        )
    _check_installed("train.optimizer: adamw_8bit", train)


def _check_base(train: TrainSettings, engine: str) -> None:
    if train.quantize_base is None:
        return
    name = f"train.quantize_base: {train.quantize_base}"
    if train.language_model is not None and train.lora.language_model is None:
        raise UsageError(
            f"{name} freezes the language model's layers, and stage {train.stage!r} trains them",
            hint="Adapters learn on them: --set train.lora.language_model.rank=16",
        )
    if engine != "none":
        raise UsageError(
            f"{name} cannot be sharded by DeepSpeed ({engine}), which casts weights and what belongs to their codes",
            hint="--deepspeed none (also with several processes), or no train.quantize_base",
        )
    _check_installed(name, train)


def _check_installed(what: str, train: TrainSettings) -> None:
    if not train.plan and find_spec(PACKAGE) is None:
        raise HostError(f"{what} needs {PACKAGE}, which is not installed", hint=f"pip install 'aurora-cli[{EXTRA}]'")
