"""The learning rate over the steps of a run."""

import math


def warmup_steps(total_steps: int, warmup_ratio: float) -> int:
    return math.ceil(total_steps * warmup_ratio)


def lr_factor(step: int, total_steps: int, warmup_ratio: float) -> float:
    """Share of the peak rate in `step` (1 is the first): a straight rise to 1, then half a cosine towards 0.

    The step after the last would have 0: no step is spent on a rate of nothing.

    >>> [round(lr_factor(step, 10, 0.2), 3) for step in range(1, 11)]
    [0.5, 1.0, 0.97, 0.883, 0.75, 0.587, 0.413, 0.25, 0.117, 0.03]
    """
    warmup = warmup_steps(total_steps, warmup_ratio)
    if step <= warmup:
        return step / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (total_steps - warmup + 1)))
