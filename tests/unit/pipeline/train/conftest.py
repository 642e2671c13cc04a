"""A workspace of each test's own."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def root(tokenized: Path, tmp_path: Path) -> Path:
    """A copy of what the module's `tokenized` holds."""
    return Path(shutil.copytree(tokenized, tmp_path / "workspace"))
