"""Kept features: whole or absent, whoever writes them, however the writing ends."""

import errno
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurora_cli.data.features import writer as writing
from aurora_cli.data.features.cache import FeatureCache
from aurora_cli.data.features.space import FeatureForm
from aurora_cli.data.features.table import ENTRY, entry, open_index, read_log, seal, table_of
from aurora_cli.data.features.writer import FeatureWriter, seal_left_over
from aurora_cli.io import atomic

FORM = FeatureForm(width=4, precision="fp32")
ROOM = 1 << 40


def key(number: int) -> bytes:
    """Keys that meet in their first half, three at a time."""
    return (number // 3).to_bytes(8, "little") + number.to_bytes(8, "little")


def content(number: int) -> bytes:
    return bytes([number % 251]) * (16 * (number % 5 + 1))


def write(folder: Path, numbers: range, *, close: bool = True) -> FeatureWriter:
    folder.mkdir(exist_ok=True)
    writer = FeatureWriter(folder, ROOM)
    for number in numbers:
        writer.append(key(number), memoryview(content(number)))
    if close:
        writer.close()
    return writer


def read(folder: Path, numbers: range) -> dict[int, bytes]:
    """What a process that opens the folder anew finds of them."""
    found = FeatureCache(folder, FORM).features([key(number) for number in numbers])
    return {number: one.tobytes() for number, one in zip(numbers, found, strict=True) if one is not None}


def test_what_was_written_is_read_while_it_is_written_and_when_it_is_done(tmp_path: Path) -> None:
    write(tmp_path, range(50))
    open_one = write(tmp_path, range(50, 80), close=False)
    assert read(tmp_path, range(100)) == {number: content(number) for number in range(80)}
    open_one.close()
    assert read(tmp_path, range(100)) == {number: content(number) for number in range(80)}
    assert sorted({path.suffix for path in tmp_path.iterdir()}) == [".features", ".index"]


def test_a_reader_finds_what_came_after_it_opened(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "features", FORM)
    assert cache.features([key(1)]) == [None]
    writer = write(tmp_path / "features", range(3), close=False)
    for number in range(3, 60):
        writer.append(key(number), memoryview(content(number)))
        found = cache.features([key(some) for some in range(number + 2)])
        assert [one is not None for one in found] == [True] * (number + 1) + [False]
        assert all(one.tobytes() == content(some) for some, one in enumerate(found) if one is not None)
    writer.close()
    writer.append(key(70), memoryview(b"more"))
    (again,) = pickle.loads(pickle.dumps(cache)).features([key(70)])
    assert again.tobytes() == b"more"
    assert cache.features([key(70)])[0].tobytes() == b"more"
    writer.close()


def test_a_full_segment_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SEGMENT_ENTRIES", 7)
    write(tmp_path, range(30))
    assert len(list(tmp_path.glob("*.index"))) == 5
    assert read(tmp_path, range(40)) == {number: content(number) for number in range(30)}


def test_nothing_is_made_where_nothing_is_written(tmp_path: Path) -> None:
    FeatureWriter(tmp_path, ROOM).close()
    assert list(tmp_path.iterdir()) == []
    assert not FeatureWriter(tmp_path, 10).has_room(11)
    assert FeatureWriter(tmp_path, 10).has_room(10)


@pytest.mark.slow
@given(numbers=st.lists(st.integers(0, 40), max_size=30), tail=st.binary(max_size=90), cut=st.integers(0, 90))
@settings(max_examples=60)
def test_of_a_log_the_whole_entries_count_up_to_the_first_that_is_none(
    numbers: list[int], tail: bytes, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A torn end, or what a disk has that lost power: bytes of anything behind whole entries, never entries of it."""
    log = tmp_path_factory.mktemp("log") / "a.log"
    whole = b"".join(entry(key(number), number, 16, number) for number in numbers)
    log.write_bytes((whole + tail)[: len(whole) + cut])
    assert read_log(log)["offset"].tolist() == numbers
    kept = max(0, len(whole) - cut)
    log.write_bytes(whole[:kept])
    assert read_log(log)["offset"].tolist() == numbers[: kept // ENTRY.itemsize]
    log.write_bytes(whole + bytes(400))
    assert read_log(log)["offset"].tolist() == numbers
    table = table_of(log, read_log(log))
    wanted = np.frombuffer(b"".join(key(number) for number in range(41)), np.dtype("<i8, <i8"))
    wanted.dtype.names = ("high", "low")
    found = [None if one is None else one.offset for one in table.find(wanted)]
    assert found == [number if number in numbers else None for number in range(41)]


KILLED = """
import os, sys
from pathlib import Path
from tests.unit.data.features.test_cache import content, key
from aurora_cli.data.features.writer import FeatureWriter
writer = FeatureWriter(Path(sys.argv[1]), 1 << 40)
print("begun", flush=True)
for number in range(int(sys.argv[2]), 10**9):
    writer.append(key(number), memoryview(content(number)))
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_writing_all_that_is_there_is_whole(tmp_path: Path) -> None:
    """Two processes at once, killed -9 as they write; then a run that seals what they left."""
    starts = (0, 10**6)
    children = [
        subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), str(start)], stdout=subprocess.PIPE)
        for start in starts
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
    while len([log for log in tmp_path.glob("*.log") if log.stat().st_size >= 400]) < 2:
        continue
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    logs = {log: read_log(log) for log in tmp_path.glob("*.log")}
    for log, entries in logs.items():  # whatever the kill left of the last entry
        with open(log, "ab") as file:
            file.write(entries[-1:].tobytes()[:17])
    counts = {int(entries["low"][0]): len(entries) for entries in logs.values()}
    assert counts.keys() == set(starts)
    for start, count in counts.items():
        numbers = range(start, start + count + 5)
        assert read(tmp_path, numbers) == {number: content(number) for number in range(start, start + count)}
    seal_left_over(tmp_path)
    assert not list(tmp_path.glob("*.log"))
    for start, count in counts.items():
        assert read(tmp_path, range(start, start + count + 5)).keys() == set(range(start, start + count))


def test_a_segment_that_is_being_written_is_not_sealed_by_others(tmp_path: Path) -> None:
    writer = write(tmp_path, range(5), close=False)
    seal_left_over(tmp_path)
    assert len(list(tmp_path.glob("*.log"))) == 1
    writer.append(key(9), memoryview(content(9)))
    writer.close()
    assert read(tmp_path, range(10)).keys() == {0, 1, 2, 3, 4, 9}


def test_what_was_left_is_read_as_it_is_where_it_cannot_be_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full, or was mounted to be read only, since the process that wrote it was killed."""
    writer = write(tmp_path, range(5), close=False)
    del writer
    content_before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(writing.fcntl, "flock", lambda *_: None)  # the writer's lock died with it

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fsync", full)
        seal_left_over(tmp_path)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == content_before
        assert read(tmp_path, range(6)).keys() == set(range(5))
    seal_left_over(tmp_path)
    assert not list(tmp_path.glob("*.log"))
    assert read(tmp_path, range(6)).keys() == set(range(5))


def test_what_another_host_writes_is_left_to_it_where_each_host_has_a_flock_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing.fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(writing, "this_boot", lambda: "another-host")
    writer = write(tmp_path, range(5), close=False)
    monkeypatch.undo()
    seal_left_over(tmp_path)
    (log,) = tmp_path.glob("*.log")
    writer.append(key(9), memoryview(content(9)))
    os.utime(log, (0, 0))
    seal_left_over(tmp_path)  # it went down long ago
    assert not log.exists()
    assert read(tmp_path, range(10)).keys() == {0, 1, 2, 3, 4, 9}


def test_an_empty_segment_goes_when_it_is_sealed(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"torn")
    (tmp_path / "a.features").write_bytes(b"what was written before the entry")
    seal(tmp_path / "a.log")
    assert list(tmp_path.iterdir()) == []


def test_damaged_features_are_not_there_and_what_is_written_anew_is(tmp_path: Path) -> None:
    write(tmp_path, range(4))
    (data,) = tmp_path.glob("*.features")
    damaged = bytearray(data.read_bytes())
    damaged[20] ^= 1  # in what belongs to key 1
    data.write_bytes(damaged)
    assert read(tmp_path, range(4)).keys() == {0, 2, 3}
    write(tmp_path, range(1, 2))
    assert read(tmp_path, range(4)) == {number: content(number) for number in range(4)}
    for path in tmp_path.glob("*.features"):
        path.unlink()
    assert read(tmp_path, range(4)) == {}


@pytest.mark.parametrize("left", [b"", b"\xff" * 8, b"\x05\0\0\0\0\0\0\0{}   "])
def test_what_is_no_index_is_no_index(left: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.index").write_bytes(left)
    with pytest.raises(ValueError, match="index"):
        open_index(tmp_path / "a.index")
    write(tmp_path, range(2))
    assert read(tmp_path, range(3)).keys() == {0, 1}


@pytest.mark.parametrize("full_at", range(1, 12))
def test_on_a_full_disk_what_was_written_before_stays(
    full_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any write may be the one that fails, half done."""
    real, calls = os.write, iter(range(1, 100))

    full = [False]

    def failing(descriptor: int, some: Any) -> int:
        number = next(calls)
        if number == full_at:
            full[0] = True
            return real(descriptor, bytes(some)[:8])
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, some)

    monkeypatch.setattr(writing.os, "write", failing)
    writer = FeatureWriter(tmp_path, ROOM)
    done = 0
    with pytest.raises(OSError, match="No space left"):
        for number in range(20):
            writer.append(key(number), memoryview(content(number)))
            done = number + 1
    assert read(tmp_path, range(20)) == {number: content(number) for number in range(done)}
    assert sum(path.stat().st_size for path in tmp_path.glob("*.features")) == sum(len(content(n)) for n in range(done))


@pytest.mark.slow
@given(numbers=st.lists(st.integers(0, 30), max_size=40), segments=st.integers(1, 4))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_keys_are_found_in_whatever_segment_they_are(
    numbers: list[int], segments: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("segments")
    writers = [FeatureWriter(folder, ROOM) for _ in range(segments)]
    for position, number in enumerate(numbers):
        writers[position % segments].append(key(number), memoryview(content(number)))
    for writer in writers[::2]:
        writer.close()
    assert read(folder, range(35)) == {number: content(number) for number in sorted(set(numbers))}
    for writer in writers[1::2]:
        writer.close()
