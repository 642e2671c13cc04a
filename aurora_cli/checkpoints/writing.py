"""Weights to disk, one tensor at a time: safetensors written by hand, so that a shard is never in memory as a whole."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO

import torch

from aurora_cli.checkpoints.lazy_tensors import LazyTensor, Tensors
from aurora_cli.io.atomic import fsync_file, write_json
from aurora_cli.io.safetensors_header import tensor_header

Advance = Callable[[int], None]
Write = Callable[[Path, Tensors, Advance], None]

_THREADS = 2

_TYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_size(text: str) -> int:
    """Bytes in a size as `--max-shard-size` takes it.

    >>> parse_size("1.5 GB")
    1500000000
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]B)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a size like 2GB")
    return int(float(match[1]) * _UNITS[match[2]])


def write_weights(
    folder: Path, tensors: Tensors, *, safe: bool, max_shard_bytes: int, advance: Advance = lambda _: None
) -> None:
    """Write `tensors` as transformers names its files: one, or shards of at most `max_shard_bytes` and an index.

    A tensor larger than that has a shard of its own. `advance` is called with the bytes written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem, suffix = ("model", ".safetensors") if safe else ("pytorch_model", ".bin")
    write = _write_safetensors if safe else _write_pickle
    shards = list(_shards(tensors, max_shard_bytes)) or [tensors]
    names = [f"{stem}{_shard_suffix(number, len(shards))}{suffix}" for number in range(1, len(shards) + 1)]
    at_once = _THREADS if safe else 1  # a pickle is in memory as a whole while it is written
    _write_shards([(folder / name, shard) for name, shard in zip(names, shards, strict=True)], write, advance, at_once)
    if len(shards) == 1:
        return
    total = sum(tensor.num_bytes for tensor in tensors.values())
    weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / f"{stem}{suffix}.index.json", index)


def _shard_suffix(number: int, of: int) -> str:
    return f"-{number:05d}-of-{of:05d}" if of > 1 else ""


def _write_shards(shards: list[tuple[Path, Tensors]], write: Write, advance: Advance, at_once: int) -> None:
    """Shards are cast and written while those before them go to the disk. The first error ends them all."""
    stop, turn = threading.Event(), threading.Semaphore(at_once)

    def advance_or_stop(amount: int) -> None:
        if stop.is_set():
            raise CancelledError
        advance(amount)

    def write_one(path: Path, shard: Tensors) -> None:
        with turn:
            write(path, shard, advance_or_stop)
        fsync_file(path)

    # Torch works in these threads alone: on two busy cores, waiting for its others took 8 times as long as the work.
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(_THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            writes = [pool.submit(write_one, path, shard) for path, shard in shards]
            try:
                for each in as_completed(writes):
                    each.result()
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)  # MKL has one number for the whole process


def _shards(tensors: Tensors, max_bytes: int) -> Iterator[Tensors]:
    shard: Tensors = {}
    size = 0
    for name, tensor in tensors.items():
        if shard and size + tensor.num_bytes > max_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.num_bytes
    if shard:
        yield shard


def _write_safetensors(path: Path, tensors: Tensors, advance: Advance) -> None:
    # Wide types first keeps every tensor aligned to its own width, as the format asks for.
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    with open(path, "wb") as file:
        file.write(tensor_header((name, _TYPE_NAMES[tensor.dtype], tensor.shape) for name, tensor in ordered))
        for _, tensor in ordered:
            _write_values(file, tensor)
            advance(tensor.num_bytes)


def _write_values(file: IO[bytes], tensor: LazyTensor) -> None:
    for piece in tensor.pieces():
        file.write(piece.contiguous().view(torch.uint8).numpy().data)  # numpy knows no bfloat16, but it knows bytes


def _write_pickle(path: Path, tensors: Tensors, advance: Advance) -> None:
    values = {name: _alone(tensor.read()) for name, tensor in tensors.items()}
    with open(path, "wb") as file:
        try:
            torch.save(values, file)
        except RuntimeError as error:  # of torch's zip, about a disk that took less than it was given
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
    advance(sum(tensor.num_bytes for tensor in tensors.values()))


def _alone(values: torch.Tensor) -> torch.Tensor:
    """Over a storage of its own: `torch.save` writes storages whole."""
    return values if values.untyped_storage().nbytes() == values.nbytes else values.clone()
