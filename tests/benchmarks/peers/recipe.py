"""What every tool trains by: AdamW without decay, a cosine, gradients clipped at 1, 8 samples a step."""

RATE, WARMUP = 1e-3, 0.0
"""Without warm-up: the first step of transformers' would have the rate 0, one of few steps."""
SAMPLES = 8
"""Of a step, of all peers."""
IGNORED = -100
"""Label of what is no target."""


def rate_in_the_middle(samples: int) -> float:
    """Where the cosine is taken in the middle of each step, as ours is: n of such rates come to n / 2 times the
    highest, of those at the beginning of steps, as transformers takes them, to (n + 1) / 2 times. Of four steps that
    would be a quarter more learning.

    >>> rate_in_the_middle(32)
    0.00125
    """
    steps = max(1, round(samples / SAMPLES))
    return RATE * (steps + 1) / steps
