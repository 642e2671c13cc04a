"""`aurora download` and the disk: full ones, kills, what is durable when; and memory, whatever the sizes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from aurora_cli.errors import HostError
from aurora_cli.pipeline.download import command as download
from tests.archiving import peak_of
from tests.downloading import SHOWN, data_files, settings
from tests.hub import Hub, running_hub


def test_a_full_disk_ends_the_run_and_space_lets_it_continue(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from aurora_cli.data.download.partial_file import PartialFile

    real, left = PartialFile.write, [150_000]

    def full(self: PartialFile, content: bytes) -> None:
        left[0] -= len(content)
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(self, content)

    monkeypatch.setattr(PartialFile, "write", full)
    with pytest.raises(HostError, match="the disk is full"):
        download.run(settings(tmp_path))
    monkeypatch.setattr(PartialFile, "write", real)
    download.run(settings(tmp_path))
    assert data_files(tmp_path) == SHOWN


def killed_campaign(hub: Hub, tmp_path: Path, kills: int) -> None:
    """kill -9 at random moments; in the end everything is right, and what had come was not asked for again."""
    hub.faults.bytes_per_s = 400_000
    code = (
        "import sys; from pathlib import Path; from aurora_cli.config.settings import *; "
        "from aurora_cli.pipeline.download import command as download; "
        "import huggingface_hub; print('ready', flush=True); "
        "download.run(Settings(workspace=Path(sys.argv[1]), download=DownloadSettings(retry_wait_s=0.01)))"
    )
    draw, environment = random.Random(kills), os.environ | {"HF_ENDPOINT": hub.url}
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=environment, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0.05, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        files = data_files(tmp_path).items()
        whole = {path: content for path, content in files if ".partial" not in path and not path.endswith(".lock")}
        assert all(SHOWN[path] == content for path, content in whole.items()), "a file with its final name is not whole"
    hub.faults.bytes_per_s = None
    download.run(settings(tmp_path))
    assert data_files(tmp_path) == SHOWN
    assert sum(hub.sent.values()) < sum(map(len, SHOWN.values())) + kills * 500_000


@pytest.mark.slow
def test_a_killed_download_continues(hub: Hub, tmp_path: Path):
    killed_campaign(hub, tmp_path, 2)


@pytest.mark.soak
def test_a_download_killed_many_times_continues(hub: Hub, tmp_path: Path):
    killed_campaign(hub, tmp_path, 40)


@pytest.fixture
def small_disk(tmp_path: Path):
    """A filesystem of 400 kB, and a function that makes it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small filesystem is not allowed here")
    try:
        yield disk, lambda: subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_really_is_full_ends_the_run_and_space_lets_it_continue(
    hub: Hub, small_disk: tuple[Path, Callable[[], object]], monkeypatch: pytest.MonkeyPatch
):
    disk, enlarge = small_disk
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, 10**9))  # it looked free when it was asked
    with pytest.raises(HostError, match="the disk is full") as caught:
        download.run(settings(disk))
    assert caught.value.exit_code == 4
    named = {path: content for path, content in data_files(disk).items() if not path.endswith(".partial")}
    assert all(SHOWN[path] == content for path, content in named.items())
    enlarge()
    hub.sent.clear()
    download.run(settings(disk))
    assert data_files(disk) == SHOWN
    assert sum(hub.sent.values()) < sum(map(len, SHOWN.values()))


def test_what_cannot_be_brought_to_the_disk_has_no_name(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aurora_cli.data.download.partial_file.os.fsync", broken)
    with pytest.raises(HostError, match="the disk is full"):
        download.run(settings(tmp_path, include=["*dense.tar*"]))
    assert all(path.endswith(".partial") for path in data_files(tmp_path))


def test_a_failure_of_the_disk_while_more_comes_ends_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from aurora_cli.data.download.partial_file import DiskWriter

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("aurora_cli.data.download.partial_file.os.fdatasync", broken)
    with open(tmp_path / "file", "wb") as file:
        writer = DiskWriter(file.fileno())
        writer.wrote(64 << 20)
        with pytest.raises(OSError, match="Input/output"):
            for _ in range(1000):
                time.sleep(0.01)
                writer.wrote(64 << 20)
        writer.close()


def test_without_sync_nothing_waits_for_the_disk(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def forbidden(*_: object) -> None:
        raise AssertionError("waits for the disk")

    monkeypatch.setattr("aurora_cli.data.download.commit.sync_filesystem", forbidden)
    monkeypatch.setattr("aurora_cli.data.download.commit.fsync_folder", forbidden)
    monkeypatch.setattr("aurora_cli.data.download.partial_file.DiskWriter.wrote", forbidden)
    monkeypatch.setattr("aurora_cli.data.download.partial_file.DiskWriter.finish", forbidden)
    download.run(settings(tmp_path, sync=False))
    assert data_files(tmp_path) == SHOWN


@pytest.mark.slow
def test_many_small_files_come_in_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    small_files(monkeypatch, tmp_path, 250)


@pytest.mark.soak
def test_five_thousand_small_files_come(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    small_files(monkeypatch, tmp_path, 5000)


def small_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int) -> None:
    files = {f"vision/many/{index}.txt": str(index).encode() for index in range(count)}
    with running_hub(files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        result = download.run(settings(tmp_path, workers=8))
    assert data_files(tmp_path) == files
    assert result.fetched == count


def test_small_files_that_waited_for_their_group_when_the_run_died_are_not_fetched_again(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from aurora_cli.data.download.commit import GroupCommit

    with monkeypatch.context() as patch:
        patch.setattr(GroupCommit, "flush", lambda self: None)
        download.run(settings(tmp_path, annotations_only=True))
    assert all(path.endswith(".partial") for path in data_files(tmp_path))
    hub.sent.clear()
    download.run(settings(tmp_path, annotations_only=True))
    assert not hub.sent
    assert {path for path in SHOWN if path.endswith(".jsonl")} == data_files(tmp_path).keys()


def memory_mb(url: str, workspace: Path) -> float:
    """The most that a process needed to download everything."""
    code = (
        "import sys; from pathlib import Path; from aurora_cli.config.settings import *; "
        "from aurora_cli.pipeline.download import command as download; "
        "download.run(Settings(workspace=Path(sys.argv[1])))"
    )
    return peak_of(code, str(workspace), HF_ENDPOINT=url) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [500, pytest.param(4096, marks=pytest.mark.soak)])
def test_memory_does_not_grow_with_a_file(hub: Hub, tmp_path: Path, megabytes: int):
    sparse = tmp_path / "sparse"
    with open(sparse, "wb") as file:
        file.truncate(megabytes << 20)
    hub.files = {"vision/cost/a.tar.gz.part_000": sparse}
    assert memory_mb(hub.url, tmp_path / "w") < 250
    assert (tmp_path / "w/data/vision/cost/a.tar.gz.part_000").stat().st_size == megabytes << 20


@pytest.mark.soak
def test_memory_does_not_grow_with_the_number_of_files(hub: Hub, tmp_path: Path):
    hub.files = {f"vision/many/{index}.txt": str(index).encode() for index in range(500)}
    few = memory_mb(hub.url, tmp_path / "few")
    hub.files = {f"vision/many/{index}.txt": str(index).encode() for index in range(5000)}
    assert memory_mb(hub.url, tmp_path / "many") < few + 30
