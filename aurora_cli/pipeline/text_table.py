"""Rows of text as lines with their columns one under the other."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """The first column to the left, the others, which are numbers, to the right.

    >>> aligned([("subset", "records"), ("cost", "7")])
    ['  subset  records', '  cost          7']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        indent
        + "  ".join(
            [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        )
        for first, *rest in rows
    ]


def aligned_left(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """All columns, which are words, to the left.

    >>> aligned_left([("setting", "value", "from"), ("train.epochs", "2", "--set")])
    ['  setting       value  from', '  train.epochs  2      --set']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]
