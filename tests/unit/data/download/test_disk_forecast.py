"""How much disk the steps after a download will take. Numbers are worked by hand."""

from collections import namedtuple
from pathlib import Path

import pytest

from aurora_cli.console import Reporter
from aurora_cli.data.archives.spent import delete_spent
from aurora_cli.data.download.disk_forecast import MEMBERS_PER_ARCHIVE_BYTE, SHARDS_PER_ANNOTATION_BYTE, later_needs
from aurora_cli.data.download.manifest import RemoteFile
from aurora_cli.pipeline.download import command as download
from aurora_cli.pipeline.extract import command as extract
from tests.downloading import settings

CHOSEN = [
    RemoteFile("vision/cost/cost.jsonl", 1000),
    RemoteFile("vision/cost/vg.tar.gz.part_000", 4000),
    RemoteFile("vision/cost/vg.tar.gz.part_001", 2000),
    RemoteFile("vision/cost/coco.tar.gz", 3000),
    RemoteFile("vision/m3it/m3it.tar.part_000", 10_000),
    RemoteFile("README.md", 77),
]


def needs(data: Path) -> dict[str, int]:
    return {need.step: need.bytes for need in later_needs(CHOSEN, data, archives_at_a_time=2)}


def test_each_step_is_forecast_from_names_and_sizes(tmp_path: Path):
    assert needs(tmp_path) == {
        "merge-tars": 16_000,
        "merge-tars --delete-parts": 10_000,
        "extract": int(19_000 * MEMBERS_PER_ARCHIVE_BYTE),
        "extract --delete-archives": int(16_000 * MEMBERS_PER_ARCHIVE_BYTE),
        "tokenize": int(1000 * SHARDS_PER_ANNOTATION_BYTE),
    }


def test_what_is_merged_needs_no_merging(tmp_path: Path):
    folder = tmp_path / "vision/cost"
    folder.mkdir(parents=True)
    (folder / "vg.tar.gz").write_bytes(b"x" * 6000)
    (folder / "vg.tar.gz.part_000").write_bytes(b"x" * 4000)
    assert needs(tmp_path)["merge-tars"] == 10_000
    delete_spent([folder / "vg.tar.gz.part_000"], folder / "vg.tar.gz")
    assert needs(tmp_path)["merge-tars"] == 10_000


def test_what_is_extracted_needs_nothing(tmp_path: Path):
    import tarfile

    folder = tmp_path / "mirror/vision/cost"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"x" * 5000)
    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.add(folder / "a.jpg", "a.jpg")
    (folder / "a.jpg").unlink()
    chosen = settings(tmp_path / "w", repo=str(tmp_path / "mirror"))
    first = download.run(chosen)
    assert {entry.step: entry.bytes for entry in first.later_steps}["extract"] > 5000
    extract.run(chosen)
    second = download.run(chosen, dry_run=True)
    assert {entry.step: entry.bytes for entry in second.later_steps}["extract"] == 0
    assert not any(line.startswith("extract") for line in second.lines())


class Ear(Reporter):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def warning(self, message: str) -> None:
        self.heard.append(message)


@pytest.mark.parametrize(("free", "is_warned"), [(3000, True), (300_000, False)])
def test_a_download_that_fits_but_cannot_be_unpacked_is_a_warning_with_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, is_warned: bool
):
    folder = tmp_path / "mirror/vision/cost"
    folder.mkdir(parents=True)
    (folder / "a.tar.gz").write_bytes(b"x" * 2000)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**6, 0, free))
    ear = Ear()
    result = download.run(settings(tmp_path / "w", repo=str(tmp_path / "mirror")), ear)
    assert result.fetched == 1
    assert [("1,000 bytes are free" in line, "2,100" in line) for line in ear.heard] == [(True, True)] * is_warned


def test_a_dry_run_says_what_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "mirror/vision/cost"
    folder.mkdir(parents=True)
    (folder / "a.tar.gz").write_bytes(b"x" * 2000)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**6, 0, 3000))
    lines = download.run(settings(tmp_path / "w", repo=str(tmp_path / "mirror")), dry_run=True).lines()
    assert any(line.startswith("download ") and " fits " in line for line in lines)
    assert any(line.startswith("extract ") and "DOES NOT FIT" in line for line in lines)
