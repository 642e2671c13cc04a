"""When a run must not go on: too many unreadable media, a loss that is not a number, a loss that has jumped.

Judged over all ranks' numbers, so that every rank comes to the same answer in the same step. All of it is arithmetic on
what `training.checkpoint.Position` carries: a resumed run judges as if it had never stopped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.errors import DataError

EMA_STEPS = 50
"""Steps over which the loss is averaged that a jump is measured from."""


@dataclass(frozen=True)
class MediaLimit:
    """How many of a run's images, frames and videos may be such that they cannot be read."""

    max_bad_share: float
    samples_in_run: int
    part_of_epoch: bool = False
    """The run takes only some of its data: by chance these may hold more than their share of what is bad."""

    def problem(self, samples: int, files: int, bad: int) -> DataError | None:
        """What to stop with when `bad` of the `files` of the first `samples` samples cannot be read.

        Too many are those that use up the whole run's allowance; and, earlier, a share that lies three standard
        deviations above the allowed one: a wrong `--media-root` ends after about a dozen samples, not after a day.
        """
        if bad == 0:
            return None
        allowed = self.max_bad_share * files
        allowed_in_run = allowed * max(1.0, self.samples_in_run / samples)
        if self.part_of_epoch:
            allowed_in_run += math.sqrt(allowed_in_run)
        likely = bad >= 10 and bad > allowed + 3 * math.sqrt(allowed)
        if not (bad > allowed_in_run or likely):
            return None
        return DataError(
            f"{bad} of the {files} images, frames and videos of the first {samples} samples cannot be read;"
            f" data.max_bad_share allows {self.max_bad_share:.2%}",
            hint="The run's rejected.jsonl lists them. Check --media-root, or extract again.",
        )


def loss_ema(before: float | None, loss: float) -> float:
    """The running mean of the loss, to be kept until the next step.

    >>> round(loss_ema(loss_ema(None, 3.0), 2.0), 3)
    2.98
    """
    return loss if before is None else before + (loss - before) / EMA_STEPS


def loss_problem(loss: float, gradient_norm: float, usual: float | None, max_jump: float | None) -> str | None:
    """What is wrong with a step's numbers; None if nothing is.

    >>> loss_problem(float("nan"), 1.0, 2.0, 10.0), loss_problem(2.0, float("inf"), 2.0, 10.0)
    ('the loss is nan', "the gradient's norm is inf")
    >>> loss_problem(12.5, 1.0, 2.0, 10.0), loss_problem(11.5, 1.0, 2.0, 10.0)
    ('the loss jumped to 12.5 from about 2 (train.max_loss_jump: 10)', None)
    """
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    if not math.isfinite(gradient_norm):
        return f"the gradient's norm is {gradient_norm}"
    if max_jump is not None and usual is not None and loss > usual + max_jump:
        return f"the loss jumped to {loss:.4g} from about {usual:.4g} (train.max_loss_jump: {max_jump:g})"
    return None


def loss_error(problem: str, step: int, samples: Sequence[int], saved: Path | None) -> DataError:
    """The error that ends a run whose loss has a `problem`."""
    kept = f"The last checkpoint is from before: {saved}." if saved else "Nothing has been saved yet."
    return DataError(
        f"step {step}: {problem}; its samples: {sorted(samples)}",
        hint=f"{kept} Lower train.*.lr, or look at the samples: they are counted through the data folders, from 0.",
    )
