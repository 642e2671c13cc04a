"""Files that are whole or absent."""

import errno
from pathlib import Path

import pytest

from aurora_cli.errors import HostError
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


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "cannot be written")])
def test_a_disk_that_refuses_is_exit_4_and_names_the_path(tmp_path: Path, code: int, words: str) -> None:
    with pytest.raises(HostError, match=words) as caught, atomic.disk_errors(tmp_path / "out"):
        raise OSError(code, "refused")
    assert "out" in str(caught.value)


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
