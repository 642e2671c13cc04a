"""The data set that is downloaded, on a hub and in a folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.downloading import FILES, published_hub
from tests.hub import Hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with published_hub(monkeypatch, tmp_path / "hf") as running:
        yield running


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    for path, content in FILES.items():
        file = tmp_path / "mirror" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "mirror"
