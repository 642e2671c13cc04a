"""Weights on a disk that takes less than they are."""

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from aurora_cli.checkpoints.lazy_tensors import LazyTensor
from aurora_cli.checkpoints.weight_files import open_weights
from aurora_cli.checkpoints.writing import write_weights

VALUE = torch.arange(100_000, dtype=torch.float32)


@contextmanager
def no_file_above(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("safe", [True, False])
def test_a_disk_that_takes_no_more_is_the_systems_error_and_no_bug(tmp_path: Path, safe: bool) -> None:
    tensors = {"a": LazyTensor(tmp_path, "a", tuple(VALUE.shape), VALUE.dtype, lambda: VALUE)}
    with no_file_above(100_000), pytest.raises(OSError, match="File too large") as caught:
        write_weights(tmp_path, tensors, safe=safe, max_shard_bytes=1 << 30)
    assert caught.value.errno == errno.EFBIG
    write_weights(tmp_path, tensors, safe=safe, max_shard_bytes=1 << 30)
    assert open_weights(tmp_path)["a"].read().equal(VALUE)
