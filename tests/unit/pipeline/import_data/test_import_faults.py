"""`aurora import` that is killed, interrupted, or runs out of disk."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aurora_cli.errors import HostError
from tests.importing import MEDIA, imported, make_media, write_csv
from tests.unit.pipeline.import_data.test_import import tree

ROWS = 60_000
KILLS_AFTER_S = (0.35, 0.6, 0.9, 1.2)


def command(workspace: Path, source: Path) -> list[str]:
    flags = ["--as", "own", "--validation", "0.3", "--workspace", str(workspace), "--quiet"]
    return [sys.executable, "-m", "aurora_cli", "import", str(source), *flags]


@pytest.mark.slow
def test_an_import_that_is_killed_at_any_time_and_run_again_ends_as_one_that_never_was(tmp_path: Path) -> None:
    make_media(tmp_path / "source")
    source = write_csv(tmp_path / "source", [(MEDIA[n % 4], f"Caption {n}.") for n in range(ROWS)])
    subprocess.run(command(tmp_path / "whole", source), check=True, capture_output=True)
    killed = 0
    for seconds in KILLS_AFTER_S:
        process = subprocess.Popen(command(tmp_path / "killed", source), stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        visible = [path for path in (tmp_path / "killed").rglob("own.jsonl") if path.parent.name == "own"]
        assert all(path.read_bytes().endswith(b"}\n") for path in visible)
    assert killed > 0
    subprocess.run(command(tmp_path / "killed", source), check=True, capture_output=True)
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


@pytest.mark.slow
def test_ctrl_c_is_exit_130_and_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    make_media(tmp_path / "source")
    source = write_csv(tmp_path / "source", [(MEDIA[n % 4], f"Caption {n}.") for n in range(6 * ROWS)])
    process = subprocess.Popen(
        command(tmp_path / "w", source),
        stderr=subprocess.PIPE,
    )
    partial = tmp_path / "w/data/vision/own/.own.jsonl.partial"
    while not partial.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert not partial.exists()
    assert not (tmp_path / "w/data/vision/own/own.jsonl").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_is_exit_4(tmp_path: Path) -> None:
    make_media(tmp_path / "source")
    source = write_csv(tmp_path / "source", [(name, "A caption.") for name in MEDIA])
    (tmp_path / "w/data/vision/own").mkdir(parents=True)
    (tmp_path / "w/data/vision/own/.own.jsonl.partial").symlink_to("/dev/full")
    with pytest.raises(HostError, match="the disk is full"):
        imported(tmp_path / "w", source)
    assert imported(tmp_path / "w", source).kept == 4
