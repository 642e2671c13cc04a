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
    if train.optimizer == "adamw":
        return
    if engine != "none":
        raise UsageError(
            f"train.optimizer: adamw_8bit cannot be sharded by DeepSpeed ({engine}), which cuts moments anywhere:"
            " those of 8 bits only have a value block by block",
            hint="--deepspeed none (also with several processes), or train.optimizer=adamw",
        )
    if not train.plan and find_spec(PACKAGE) is None:
        raise HostError(
            f"train.optimizer: adamw_8bit needs {PACKAGE}, which is not installed",
            hint=f"pip install 'aurora-cli[{EXTRA}]'",
        )
