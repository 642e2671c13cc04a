"""For all that trains in processes: they begin with their imports done."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _imports_done(imports_done: None) -> None:
    pass
