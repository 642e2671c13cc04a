"""A GGUF file, written one tensor at a time: `general.*` and other keys first, then tensors in the order given.

Source of names and types: llama.cpp, `gguf-py/gguf/constants.py`. The package `gguf` packs the bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from aurora_cli.checkpoints.lazy_tensors import LazyTensor
from aurora_cli.errors import DataError, HostError
from aurora_cli.io.atomic import fsync_file

TensorType = Literal["F32", "F16", "Q8_0"]
Value = str | int | float | bool | Sequence[str] | Sequence[int] | Sequence[float]
Metadata = dict[str, Value]

FILE_TYPES: dict[TensorType, int] = {"F32": 0, "F16": 1, "Q8_0": 7}
"""`general.file_type`, by what most of a file's weights are."""
_BLOCK = 32
"""Values of a row that Q8_0 stores together."""
_LARGEST_HALF = 65504.0


class FileTensor(NamedTuple):
    """A tensor under its name in the file."""

    name: str
    tensor: LazyTensor
    kind: TensorType


def require_gguf(what: str) -> Any:
    """The package `gguf`.

    Raises:
        HostError: it is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise HostError(
            f"{what}: the package gguf is not installed, which GGUF files need",
            hint="pip install 'aurora-cli[gguf]'",
        ) from error
    return gguf


def matrix_type(wanted: TensorType, shape: Sequence[int]) -> TensorType:
    """How a weight is stored: vectors in full, rows that Q8_0 cannot cut into blocks in halves.

    >>> matrix_type("Q8_0", (704, 96)), matrix_type("Q8_0", (704, 100)), matrix_type("Q8_0", (96,))
    ('Q8_0', 'F16', 'F32')
    """
    if len(shape) < 2:
        return "F32"
    return "F16" if wanted == "Q8_0" and shape[-1] % _BLOCK else wanted


def write_file(
    path: Path,
    architecture: str,
    metadata: Mapping[str, Value],
    tensors: Sequence[FileTensor],
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the file; `advance` is called with the bytes of each source tensor.

    Raises:
        DataError: a weight is larger than its type can hold.
    """
    gguf = require_gguf(path.name)
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        _add(writer, key, value)
    for each in tensors:
        _announce(gguf, writer, each)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for each in tensors:
            writer.write_tensor_data(_packed(gguf, each))
            advance(each.tensor.num_bytes)
    finally:
        writer.close()
    fsync_file(path)


def _add(writer: Any, key: str, value: Value) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_array(key, list(value))


def _announce(gguf: Any, writer: Any, each: FileTensor) -> None:
    kind = gguf.GGMLQuantizationType[each.kind]
    shape: tuple[int, ...] = each.tensor.shape
    if each.kind == "Q8_0":
        shape = tuple(gguf.quants.quant_shape_to_byte_shape(shape, kind))
        dtype = np.dtype(np.uint8)
    else:
        dtype = np.dtype(np.float16 if each.kind == "F16" else np.float32)
    writer.add_tensor_info(each.name, shape, dtype, int(np.prod(shape)) * dtype.itemsize, raw_dtype=kind)


def _packed(gguf: Any, each: FileTensor) -> np.ndarray:
    values = np.ascontiguousarray(each.tensor.read().float().numpy())
    if each.kind == "F32":
        return values
    if float(np.abs(values).max(initial=0.0)) > _LARGEST_HALF:
        raise DataError(
            f"{each.tensor.file}: tensor {each.tensor.name} holds values beyond {_LARGEST_HALF:,.0f}, the largest half",
            hint="GGUF's f16, and the scales of its q8_0 and q4_k_m, cannot hold it.",
        )
    if each.kind == "F16":
        return values.astype(np.float16)
    return gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
