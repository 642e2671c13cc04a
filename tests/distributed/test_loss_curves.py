"""Training computes today what it computed when `tests/golden/losses` was written."""

from pathlib import Path

import pytest

from aurora_cli.constants import STAGES
from tests.distributed.loss_curves import STEPS, golden, losses

BOUND = 4e-6
"""Of a loss. Measured: 1e-6 at most (two units in the last place of an fp32 loss) between any two of ATen's plain, AVX2
and AVX-512 kernels, each with one thread and with two, over the 20 steps of every stage."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]


def test_twenty_steps_of_every_stage_have_the_losses_that_are_kept(tmp_path: Path) -> None:
    curves = losses(tmp_path)
    assert list(curves) == list(STAGES)
    for stage, curve in curves.items():
        assert len(curve) == STEPS
        assert curve == pytest.approx(golden(stage), abs=BOUND, rel=0), stage
