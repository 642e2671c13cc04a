"""PyTorch's own files, which are pickles, without running what is in them."""

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from aurora_cli.errors import DataError

# Names that training checkpoints hold beside their tensors (history of losses, loss scale, fragments). None is needed,
# so each is read as an `_Inert` object: nothing of theirs is imported, let alone run.
_BYSTANDERS = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.config.config.ConfigDict",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.dtypes.Float64DType",
    "numpy.dtypes.Int64DType",
)


class _Inert:
    """Stands for an object that a checkpoint holds and that is not needed; takes any state and keeps none."""

    def __new__(cls, *_: object, **__: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def load_pickle(path: Path) -> Any:
    """What PyTorch saved into `path`, tensors mapped; nothing that a pickle may ask to call is called.

    Raises:
        DataError: the file is damaged, or asks for more than the building of tensors.
    """
    import pickle

    inert: list[Any] = [(_Inert, name) for name in _BYSTANDERS]
    try:
        with torch.serialization.safe_globals(inert), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle's newer protocols, which it reads or refuses
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        name = _refused(str(error)) or _first_global(path)
        if name is None:
            raise DataError(f"{path}: cannot be read as a PyTorch file, it is cut off or damaged") from error
        raise DataError(
            f"{path}: carries code besides weights, which was not run: it asks for {name}",
            hint="Ask for the weights as safetensors, or convert the file where it was made.",
        ) from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such weights file") from error
    except Exception as error:  # a damaged pickle fails in any way it likes
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise DataError(f"{path}: cannot be read as a PyTorch file, it is cut off or damaged ({reason})") from error


def _refused(message: str) -> str | None:
    """What PyTorch says that it did not import."""
    found = re.search(r"(?:Unsupported global: |unsupported )GLOBAL ([\w.]+)", message)
    return found and found[1]


def _first_global(path: Path) -> str | None:
    """The first thing that a bare pickle of a protocol beyond PyTorch's asks to import; read, not run."""
    import pickletools

    pushed: list[str] = []
    memo: list[str] = []
    try:
        with open(path, "rb") as file:
            for operation, argument, _ in pickletools.genops(file):
                name = None
                if operation.name == "GLOBAL":
                    name = str(argument).replace(" ", ".")
                elif operation.name == "STACK_GLOBAL":
                    name = ".".join(pushed[-2:])
                if name is not None and name not in _BYSTANDERS:
                    return name
                if operation.name == "MEMOIZE":
                    memo.append(pushed[-1])
                elif operation.name in ("BINGET", "LONG_BINGET"):
                    pushed.append(memo[int(argument or 0)] if memo else "")
                elif operation.stack_after:
                    pushed.append(argument if isinstance(argument, str) else "")
    except (OSError, ValueError, IndexError):  # what is no pickle asks for nothing
        return None
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["it ends too early"])[0]
