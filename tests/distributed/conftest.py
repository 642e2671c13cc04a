"""For all that trains in processes: they begin with their imports done."""

from pathlib import Path

import pytest

from tests.distributed.tiny_workspace import make


@pytest.fixture(scope="module", autouse=True)
def _imports_done(imports_done: None) -> None:
    pass


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tokenized")
    make(root)
    return root
