"""Where in a row's labels the target tokens stand."""

import numpy as np

from aurora_cli.constants import IGNORE_INDEX

Span = tuple[int, int]
"""The first of several in a row, and the one behind the last."""


def answer_spans(labels: np.ndarray) -> list[Span]:
    """The unbroken runs of target tokens in a row's labels, in order: an answer each, unless two touch.

    >>> answer_spans(np.array([-100, 5, 2, -100, -100, 7]))
    [(1, 3), (5, 6)]
    """
    edges = np.flatnonzero(np.diff(labels != IGNORE_INDEX, prepend=False, append=False)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
