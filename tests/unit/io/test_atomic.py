"""Files that are whole or absent."""

import errno
import os
import pickle
from pathlib import Path

import pytest

from aurora_cli.errors import DiskError, HostError
from aurora_cli.io import atomic
from aurora_cli.io.locks import file_lock


def test_a_file_appears_only_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with pytest.raises(ZeroDivisionError), atomic.atomic_write(path, "w") as file:
        file.write("half")
        _ = 1 / 0
    assert not path.exists()
    with atomic.atomic_write(path, "w") as file:
        file.write("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_a_folder_replaces_the_old_one_only_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with atomic.atomic_directory(path) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(ZeroDivisionError), atomic.atomic_directory(path) as folder:
        (folder / "a").write_text("2")
        _ = 1 / 0
    assert (path / "a").read_text() == "1"
    with atomic.atomic_directory(path) as folder:
        (folder / "b").write_text("3")
    assert sorted(entry.name for entry in path.iterdir()) == ["b"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_process_left_beside_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "stale").write_text("")
    with atomic.atomic_directory(tmp_path / "out") as folder:
        (folder / "fresh").write_text("")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["fresh"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EFBIG, "no file may become so large there"),
        (errno.EACCES, "cannot be written"),
    ],
)
def test_a_disk_that_refuses_is_exit_4_and_names_the_path(tmp_path: Path, code: int, words: str) -> None:
    with pytest.raises(DiskError, match=words) as caught, atomic.disk_errors(tmp_path / "out"):
        raise OSError(code, "refused")
    assert str(caught.value).startswith(str(tmp_path / "out"))
    assert caught.value.path == tmp_path / "out"


def test_what_a_disk_refused_is_known_in_another_process_too() -> None:
    error = DiskError(Path("out"), "the disk is full", hint="Make space.")
    again = pickle.loads(pickle.dumps(error))
    assert (again.path, again.reason, str(again)) == (Path("out"), error.reason, "out: the disk is full\nMake space.")


@pytest.mark.parametrize("at", ["part", "closed/part"])
def test_a_file_that_may_not_be_read_is_named_instead_of_the_one_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    part, out = tmp_path / "from" / at, tmp_path / "out"
    (tmp_path / "from/closed").mkdir(parents=True)
    (tmp_path / "from/part").touch()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) == tmp_path or "from" not in str(path))  # root may
    with pytest.raises(HostError) as caught, atomic.disk_errors(out):
        raise OSError(errno.EACCES, "Permission denied", str(part))
    assert str(caught.value) == f"{part}: cannot be read: Permission denied"
    with pytest.raises(DiskError, match="out: cannot be written"), atomic.disk_errors(out):
        raise OSError(errno.EACCES, "Permission denied", str(out / "a"))


@pytest.mark.parametrize(
    "write", [atomic.atomic_write, atomic.atomic_directory, lambda path: file_lock(path, "a test")]
)
def test_a_place_where_nothing_can_be_made_is_exit_4_and_says_why(tmp_path: Path, write) -> None:
    (tmp_path / "file").touch()
    long = "n" * 300
    for path, why in (
        (tmp_path / "file" / "below" / "out", f"{tmp_path / 'file'} is no folder"),
        (tmp_path / long, "File name too long"),
        (Path("/proc/nothing/out"), "No such file or directory"),
    ):
        with pytest.raises(HostError, match=f"cannot be written: {why}") as caught, write(path):
            pytest.fail("it was written")
        assert caught.value.message.startswith(str(path))
