"""Weights in files, read one tensor at a time, from safetensors or PyTorch's own files.

A source is a plain dict of `LazyTensor` by name: laying one over another is `{**base, **top}`.
Nothing is read before `LazyTensor.read`; files are memory-mapped, so that a model need not fit into memory.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from aurora_cli.checkpoints.pickles import load_pickle
from aurora_cli.errors import DataError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

_PIECE = 1 << 20
"""Values that are in memory at a time when a tensor passes in pieces."""

_MOST_HEADER = 100_000_000
"""Bytes of a header at most, as safetensors has it."""

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""What transformers calls the weights of a folder; `.index.json` behind one lists its shards."""


@dataclass(frozen=True)
class LazyTensor:
    """A tensor in a file, not read yet."""

    file: Path
    name: str
    """In its file; messages say it, whatever the tensor is called later."""
    shape: tuple[int, ...]
    dtype: torch.dtype
    """As the values are written; `load` may give another, wider or narrower."""
    load: Callable[[], torch.Tensor]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> torch.Tensor:
        """The values, mapped from the file where the format allows it.

        Raises:
            DataError: the file is damaged here, or the tensor holds NaN or an infinity.
        """
        tensor = self.load().detach().to(self.dtype)
        self._check(tensor)
        return tensor

    def between(self, begin: int, end: int) -> torch.Tensor:
        """Some of the values, laid out flat.

        Raises:
            DataError: as `read`, of these values.
        """
        values = self.load().detach().reshape(-1)[begin:end].to(self.dtype)
        self._check(values)
        return values

    def pieces(self) -> Iterator[torch.Tensor]:
        """The values one after the other, of which only a piece at a time is cast: for who writes them elsewhere.

        Raises:
            DataError: as `read`.
        """
        for piece in self.load().detach().reshape(-1).split(_PIECE):
            values = piece.to(self.dtype)
            self._check(values)
            yield values

    def cast(self, dtype: torch.dtype | None) -> "LazyTensor":
        """The same values in another floating-point type; integers stay as they are."""
        if dtype is None or not self.dtype.is_floating_point:
            return self
        return replace(self, dtype=dtype)

    def instead(self, load: Callable[[], torch.Tensor], shape: tuple[int, ...] | None = None) -> "LazyTensor":
        """Other values in its place."""
        return replace(self, load=load, shape=self.shape if shape is None else shape)

    def _check(self, values: torch.Tensor) -> None:
        if values.is_floating_point() and values.numel() and self.dtype.itemsize > 1:
            low, high = (float(edge) for edge in values.aminmax())  # both become NaN if one value is
            if not (math.isfinite(low) and math.isfinite(high)):
                what = "NaN" if math.isnan(low) else "an infinity"
                raise DataError(f"{self.file}: tensor {self.name} holds {what}", hint="Take an earlier checkpoint.")


Tensors = dict[str, LazyTensor]


def open_weights(path: Path) -> Tensors:
    """The tensors of a weights file, or of a folder with one, sharded or not.

    Raises:
        DataError: missing, damaged, or holding more than weights; the message names the file.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise DataError(f"{path}: no such weights file")
    return _open_safetensors(path) if path.suffix == ".safetensors" else open_pickle(path)


def has_weights(folder: Path) -> bool:
    return any((folder / name).exists() or (folder / f"{name}.index.json").exists() for name in WEIGHT_FILES)


def rename(tensors: Tensors, name_of: Callable[[str], str | None]) -> Tensors:
    """The same tensors under `name_of(name)`; those without a new name are left out.

    Raises:
        DataError: two tensors get the same name.
    """
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        new = name_of(name)
        if new is None:
            continue
        if new in renamed:
            raise DataError(f"{tensor.file}: {name} and {renamed[new].name} are both {new}; one was expected")
        renamed[new] = tensor
    return renamed


def open_pickle(path: Path) -> Tensors:
    """The tensors of a `.bin`, `.pt` or `.pth`, at its top or under `state_dict` (mmengine) or `module` (DeepSpeed)."""
    content = load_pickle(path)
    for key in ("state_dict", "module"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}; a dict of tensors was expected")
    tensors = {
        str(name): LazyTensor(path, str(name), tuple(value.shape), value.dtype, lambda value=value: value)
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise DataError(f"{path}: holds no tensors")
    return tensors


def _open_safetensors(path: Path) -> Tensors:
    try:
        file = safe_open(path, framework="pt")
        return {name: _lazy(path, file, name) for name in file.keys()}  # noqa: SIM118 (a handle, not a dict)
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path}: cannot be read, it is cut off or damaged ({_first_cut(path) or _first_line(error)})"
        ) from error


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Where the values begin, and what the file says of each tensor."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return 8 + length, json.loads(file.read(min(length, _MOST_HEADER)))


def _first_cut(path: Path) -> str | None:
    """Which tensor a file ends in, as far as its header, which stands before all tensors, can still be read."""
    try:
        begin, header = _header(path)
        there = path.stat().st_size - begin
        ends = {name: entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"}
        first = min((name for name, end in ends.items() if end > there), key=ends.__getitem__)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    return f"tensor {first} ends {ends[first] - there:,} bytes behind the end of the file"


def _lazy(path: Path, file: Any, name: str) -> LazyTensor:
    view = file.get_slice(name)
    dtype = _DTYPES.get(view.get_dtype())
    if dtype is None:
        raise DataError(f"{path}: tensor {name} has type {view.get_dtype()}; known are {', '.join(_DTYPES)}")
    shape = tuple(view.get_shape())

    def load() -> torch.Tensor:
        try:
            return file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path}: tensor {name} cannot be read ({_first_line(error)})") from error

    return LazyTensor(path, name, shape, dtype, load)


def _open_folder(folder: Path) -> Tensors:
    for name in WEIGHT_FILES:
        if (folder / name).exists():
            return open_weights(folder / name)
        index = folder / f"{name}.index.json"
        if index.exists():
            return _open_shards(index)
    raise DataError(f"{folder}: holds no weights; {' or '.join(WEIGHT_FILES)}, or an index of shards, was expected")


def _open_shards(index: Path) -> Tensors:
    try:
        where: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(where.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{index}: is not an index of shards ({_first_line(error)})") from error
    opened: dict[str, Tensors] = {}
    for shard in shards:
        path = index.parent / shard
        if Path(shard).name != shard:
            raise DataError(f"{index}: names the shard {shard}; a file beside it was expected")
        if not path.exists():
            wanted = next(name for name, file in where.items() if file == shard)
            raise DataError(f"{path}: this shard is missing; {index.name} says that it holds {wanted} and more")
        opened[shard] = open_weights(path)
    return dict(_pick(index, where.items(), opened))


def _pick(
    index: Path, where: Iterable[tuple[str, str]], opened: dict[str, Tensors]
) -> Iterator[tuple[str, LazyTensor]]:
    for name, shard in where:
        tensor = opened[shard].get(name)
        if tensor is None:
            raise DataError(f"{index.parent / shard}: lacks tensor {name}, which {index.name} says it holds")
        yield name, tensor


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
