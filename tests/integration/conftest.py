"""For the tests of whole commands: programs that begin with their imports done."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.preloaded import preloaded


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """A folder for the front of PATH, with `aurora` and `python`."""
    with preloaded(HF_HUB_OFFLINE="1") as folder:
        yield folder
