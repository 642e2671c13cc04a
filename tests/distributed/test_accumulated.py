"""A step of many micro-batches has the gradient of their sum, in bf16 too."""

from pathlib import Path

import pytest

from tests.distributed import accumulated

pytestmark = pytest.mark.slow


def test_micro_batches_are_summed_without_bf16s_rounding(tmp_path: Path) -> None:
    """In bf16, as zero1 still does, the sum of 64 loses 0.9 % of its length; in fp32 nothing that a float32 shows."""
    names = ("zero2", "zero2_offload", "zero3", "zero3_offload", "zero1")
    *summed_in_fp32, in_bf16 = map(float, accumulated.run(tmp_path, *names).split())
    assert max(summed_in_fp32) < 1e-6
    assert 0.005 < in_bf16 < 0.02
