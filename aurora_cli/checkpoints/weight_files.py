"""Files of weights, opened without reading them: safetensors or PyTorch's own, alone or in shards with an index."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from aurora_cli.checkpoints.lazy_tensors import LazyTensor, Tensors
from aurora_cli.checkpoints.pickles import load_pickle
from aurora_cli.errors import DataError, reason_of
from aurora_cli.io.json_files import JsonObject, read_object

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

_MOST_HEADER = 100_000_000
"""Bytes of a header at most, as safetensors has it."""

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""What transformers calls the weights of a folder; `.index.json` behind one lists its shards."""


def open_weights(path: Path) -> Tensors:
    """The tensors of a weights file, or of a folder with one, sharded or not.

    Raises:
        DataError: missing, damaged, or holding more than weights; the message names the file.
        OSError: it cannot be opened.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise DataError(f"{path}: no such weights file")
    return _open_safetensors(path) if path.suffix == ".safetensors" else open_pickle(path)


def has_weights(folder: Path) -> bool:
    return any((folder / name).exists() or (folder / f"{name}.index.json").exists() for name in WEIGHT_FILES)


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
    path.open("rb").close()  # of a file that may not be read safetensors says that it is not there
    try:
        file = safe_open(path, framework="pt")
        return {name: _lazy(path, file, name) for name in file.keys()}  # noqa: SIM118 (a handle, not a dict)
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path}: cannot be read, it is cut off or damaged ({_first_cut(path) or reason_of(error)})"
        ) from error


def _header(path: Path) -> tuple[int, JsonObject]:
    """Where the values begin, and what the file says of each tensor."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return 8 + length, json.loads(file.read(min(length, _MOST_HEADER)))


def _first_cut(path: Path) -> str | None:
    """Which tensor a file ends in, as far as its header, which stands before all tensors, can still be read."""
    try:
        begin, header = _header(path)
        size = path.stat().st_size - begin
        ends = {name: entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"}
        first = min((name for name, end in ends.items() if end > size), key=ends.__getitem__)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    return f"tensor {first} ends {ends[first] - size:,} bytes behind the end of the file"


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
            raise DataError(f"{path}: tensor {name} cannot be read ({reason_of(error)})") from error

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
    weight_map = _weight_map(index)
    opened: dict[str, Tensors] = {}
    for shard in sorted(set(weight_map.values())):
        path = index.parent / shard
        if Path(shard).name != shard:
            raise DataError(f"{index}: names the shard {shard}; a file beside it was expected")
        if not path.exists():
            wanted = next(name for name, file in weight_map.items() if file == shard)
            raise DataError(f"{path}: this shard is missing; {index.name} says that it holds {wanted} and more")
        opened[shard] = open_weights(path)
    tensors: Tensors = {}
    for name, shard in weight_map.items():
        if name not in opened[shard]:
            raise DataError(f"{index.parent / shard}: lacks tensor {name}, which {index.name} says it holds")
        tensors[name] = opened[shard][name]
    return tensors


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor -> the file that holds it."""
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise DataError(f"{index}: is not an index of shards: its weight_map names no files")
    return weight_map
