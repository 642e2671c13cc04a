"""When a run must not go on: too many unreadable media, a loss that is not a number, a loss that has jumped.

Judged over all ranks' numbers, so that every rank comes to the same answer in the same step. All of it is arithmetic on
what `runs.metadata.TrainState` carries: a resumed run judges as if it had never stopped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aurora_cli.errors import DataError
from aurora_cli.runs.metadata import TrainState

EMA_STEPS = 50
"""Steps over which the loss is averaged that a jump is measured from."""


class Problem(NamedTuple):
    """Why a run must not go on."""

    finding: str
    hint: str
    of_one_step: bool
    """It was found in the numbers of a step, whose samples may be the reason."""

    def error(self, step: int, samples: Sequence[int], saved: Path | None) -> DataError:
        """What the run ends with, in `step` over these `samples`, when its last checkpoint is `saved`."""
        if not self.of_one_step:
            return DataError(self.finding, hint=self.hint)
        kept = f"The last checkpoint is from before: {saved}." if saved else "Nothing has been saved yet."
        return DataError(
            f"step {step}: {self.finding}; its samples: {sorted(samples)}",
            hint=f"{kept} {self.hint}",
        )


@dataclass(frozen=True)
class MediaLimit:
    """How many of a run's images, frames and videos may be such that they cannot be read."""

    max_bad_share: float
    samples_in_run: int
    part_of_epoch: bool = False
    """The run takes only some of its data: by chance these may hold more than their share of what is bad."""

    def problem(self, samples: int, files: int, bad: int) -> Problem | None:
        """What is wrong when `bad` of the `files` of the first `samples` samples cannot be read.

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
        return Problem(
            f"{bad} of the {files} images, frames and videos of the first {samples} samples cannot be read;"
            f" data.max_bad_share allows {self.max_bad_share:.2%}",
            "The run's rejected.jsonl lists them. Check --media-root, or extract again.",
            of_one_step=False,
        )


@dataclass(frozen=True)
class Guards:
    """What ends a run before its last step."""

    media: MediaLimit
    max_loss_jump: float | None = None
    """In nats above the running mean; none: no jump ends it."""

    def problem(self, before: TrainState, after: TrainState, loss: float, grad_norm: float) -> Problem | None:
        """What is wrong with the step between these states; none: the run goes on."""
        if finding := loss_problem(loss, grad_norm, before.loss_ema, self.max_loss_jump):
            hint = "Lower train.*.lr, or look at the samples: they are counted through the data folders, from 0."
            return Problem(finding, hint, of_one_step=True)
        if after.media_unreadable > before.media_unreadable:
            return self.media.problem(after.samples_seen, after.media_files, after.media_unreadable)
        return None


def loss_ema(before: float | None, loss: float) -> float:
    """The running mean of the loss, to be kept until the next step.

    >>> round(loss_ema(loss_ema(None, 3.0), 2.0), 3)
    2.98
    """
    return loss if before is None else before + (loss - before) / EMA_STEPS


def loss_problem(loss: float, grad_norm: float, mean: float | None, max_jump: float | None) -> str | None:
    """What is wrong with a step's numbers, where the loss has had this `mean` so far; None if nothing is.

    >>> loss_problem(float("nan"), 1.0, 2.0, 10.0), loss_problem(2.0, float("inf"), 2.0, 10.0)
    ('the loss is nan', "the gradient's norm is inf")
    >>> loss_problem(12.5, 1.0, 2.0, 10.0), loss_problem(11.5, 1.0, 2.0, 10.0)
    ('the loss jumped to 12.5 from about 2 (train.max_loss_jump: 10)', None)
    """
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    if not math.isfinite(grad_norm):
        return f"the gradient's norm is {grad_norm}"
    if max_jump is not None and mean is not None and loss > mean + max_jump:
        return f"the loss jumped to {loss:.4g} from about {mean:.4g} (train.max_loss_jump: {max_jump:g})"
    return None
