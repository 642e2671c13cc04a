"""How much disk kept features may take."""

import os
import shutil
from pathlib import Path

from aurora_cli.io.atomic import existing_parent

SHARE = 0.5
"""Of what would be free without features, when nobody says how much they may take."""


def bytes_in(folder: Path) -> int:
    """Of all files below a folder; none if it is not there."""
    found = 0
    for below, _, names in os.walk(folder):
        for name in names:
            try:
                found += os.stat(os.path.join(below, name)).st_size  # noqa: PTH116, PTH118 - beside os.walk
            except FileNotFoundError:  # sealed or removed meanwhile
                continue
    return found


def limit_of(features: Path, limit_gb: float | None) -> int:
    """Bytes that all features below a folder may take."""
    if limit_gb is not None:
        return int(limit_gb * 1e9)
    free = shutil.disk_usage(existing_parent(features)).free
    return int(SHARE * (bytes_in(features) + free))
