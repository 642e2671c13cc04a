"""For all that trains in processes: they begin with their imports done."""

from collections.abc import Iterator

import pytest

from tests.preloaded import interpreting


@pytest.fixture(scope="session", autouse=True)
def _imports_done() -> Iterator[None]:
    with interpreting():
        yield
