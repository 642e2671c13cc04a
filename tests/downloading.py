"""What the tests of `aurora download` share: a data set, its settings, a hub that serves it, and what came."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurora_cli.config.settings import DownloadSettings, Settings
from tests.hub import Hub, running_hub

BIG = random.Random(0).randbytes(300_000)
FILES = {
    "README.md": b"about",
    ".gitattributes": b"plumbing",
    "projection/densefusion/densefusion.jsonl": b'{"id": 1}\n' * 300,
    "projection/densefusion/dense.tar.gz.part_000": BIG,
    "projection/densefusion/dense.tar.gz.part_001": BIG[:100_000],
    "vision/laion/laion.jsonl": b'{"id": 2}\n',
    "vision/laion/laion.tar.gz.part_000": BIG[100_000:],
    "language/laion/laion.tar.gz.part_000": BIG[100_000:],
    "language/evol/evol.jsonl": b'{"id": 3}\n',
}
SHOWN = {path: content for path, content in FILES.items() if not path.startswith(".")}


@contextlib.contextmanager
def published_hub(monkeypatch: pytest.MonkeyPatch, hf_home: Path) -> Iterator[Hub]:
    """A hub that serves `FILES`, and an environment in which it is the hub."""
    with running_hub(dict(FILES)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HOME", str(hf_home))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


def settings(workspace: Path, **options: object) -> Settings:
    return Settings(workspace=workspace, download=DownloadSettings.model_validate({"retry_wait_s": 0.01} | options))


def data_files(workspace: Path) -> dict[str, bytes]:
    data = workspace / "data"
    places = (place for place in data.rglob("*") if place.is_file())
    paths = {place.relative_to(data).as_posix(): place.read_bytes() for place in places}
    return {path: content for path, content in paths.items() if path not in (".lock", "download.json")}
