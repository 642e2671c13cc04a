"""How much memory `--fit` speaks of, and of which device."""

import re
from typing import NamedTuple

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.errors import UsageError

_SIZE = re.compile(r"(?P<gpu>gpu:)?(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]i?B)", re.IGNORECASE)
_UNITS = {"k": 1, "m": 2, "g": 3, "t": 4}


class Limit(NamedTuple):
    """Memory of one device."""

    size: int
    """Bytes."""
    gpu: bool
    """Of a GPU, whether this machine has one or not."""


def parse_limit(text: str) -> Limit:
    """
    >>> parse_limit("24GB"), parse_limit("gpu: 16 GiB".replace(" ", ""))
    (Limit(size=24000000000, gpu=False), Limit(size=17179869184, gpu=True))

    Raises:
        UsageError: it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"train.fit: {text!r} is not a size", hint="Like 24GB or 16GiB; gpu:24GB for a GPU elsewhere.")
    unit = match["unit"].lower()
    size = float(match["number"]) * (1024 if "i" in unit else 1000) ** _UNITS[unit[0]]
    return Limit(int(size), match["gpu"] is not None)


def check_fit(settings: Settings) -> None:
    """
    Raises:
        UsageError: `fit` is no size, or would do nothing, or the file to write is a folder.
    """
    train = settings.train
    if train.fit is None:
        return
    parse_limit(train.fit)
    if not train.plan:
        raise UsageError("train.fit: is of an estimate, and this would be a run", hint=f"--plan --fit {train.fit}")
    if train.write is not None and (path := Workspace(settings.workspace).path(train.write)).is_dir():
        raise UsageError(f"train.write: {path}: is a folder, where a file was expected")
