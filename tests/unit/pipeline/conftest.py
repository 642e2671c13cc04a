"""A workspace of each test's own."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Path:
    """A copy of what the module's `made` holds."""
    return Path(shutil.copytree(made, tmp_path / "w"))
