"""Tars compressed by bzip2, xz and Zstandard are read as gzipped ones are: in either layout, in parts, cut, corrupt."""

import random
import shutil
import subprocess
import threading
from itertools import accumulate, pairwise
from pathlib import Path

import pytest

from aurora_cli.data.archives.reading import chunks
from aurora_cli.data.archives.reading.part_stream import PartStream
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.errors import HostError
from aurora_cli.pipeline.extract import command as extract
from tests.archiving import COMPRESSIONS, FILES, IMAGES, SUBSET, info, place, settings, tar_of, tree

NAMES = {"gz": ["a.tar.gz", "a.tgz"], "bz2": ["a.tar.bz2", "a.tbz2", "a.tbz"], "xz": ["a.tar.xz", "a.txz"]}
NAMES["zst"] = ["a.tar.zst", "a.tzst"]


@pytest.mark.parametrize(("ending", "name"), [(ending, name) for ending in NAMES for name in NAMES[ending]])
@pytest.mark.parametrize("layout", ["files", "index"])
def test_every_member_is_there(tmp_path: Path, ending: str, name: str, layout: str):
    place(tmp_path, COMPRESSIONS[ending](tar_of(*IMAGES)), name)
    result = extract.run(settings(tmp_path, layout=layout, delete_archives=True))
    assert (result.exit_code, result.archives[0].members) == (0, 40), result.lines()
    root = MediaRoot(tmp_path / SUBSET)
    assert all(root.read(member.name) == content for member, content in IMAGES)
    assert not (tmp_path / SUBSET / name).exists()
    assert extract.run(settings(tmp_path, layout=layout)).lines()[0].startswith("Nothing to do")


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_the_first_bytes_tell_not_the_name(tmp_path: Path, ending: str):
    place(tmp_path, COMPRESSIONS[ending](tar_of(*IMAGES)), "a.tar")
    assert extract.run(settings(tmp_path)).exit_code == 0
    assert tree(tmp_path / SUBSET) == FILES


def test_a_member_that_is_called_as_bzip2_begins_is_a_member(tmp_path: Path):
    place(tmp_path, tar_of(info("BZh91.jpg", b"1")), "a.tar.bz2")
    assert extract.run(settings(tmp_path)).exit_code == 0
    assert tree(tmp_path / SUBSET) == {"BZh91.jpg": b"1"}


@pytest.mark.parametrize("ending", COMPRESSIONS)
@pytest.mark.parametrize("numbering", ["{n:05}-of-00003", "part_{n:03}"])
def test_parts_are_one_stream(tmp_path: Path, ending: str, numbering: str):
    packed = COMPRESSIONS[ending](tar_of(*IMAGES))
    for number in range(3):
        part = packed[len(packed) * number // 3 : len(packed) * (number + 1) // 3]
        place(tmp_path, part, f"a.tar.{ending}-" + numbering.format(n=number))
    result = extract.run(settings(tmp_path))
    assert (result.exit_code, result.archives[0].parts) == (0, 3)
    assert tree(tmp_path / SUBSET) == FILES


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_streams_one_behind_the_other_are_one(tmp_path: Path, ending: str):
    raw, compress = tar_of(*IMAGES), COMPRESSIONS[ending]
    place(tmp_path, compress(raw[:9999]) + compress(b"") + compress(raw[9999:]), "a.tar")
    assert extract.run(settings(tmp_path)).exit_code == 0
    assert tree(tmp_path / SUBSET) == FILES


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_garbage_behind_the_end_is_said_and_costs_nothing(tmp_path: Path, ending: str):
    place(tmp_path, COMPRESSIONS[ending](tar_of(*IMAGES)) + b"garbage", f"a.tar.{ending}")
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 3
    assert "before byte" in str(result.archives[0].broken)
    assert tree(tmp_path / SUBSET) == FILES


@pytest.mark.slow
@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("ending", ["bz2", "xz", "zst"])
def test_an_archive_cut_anywhere_gives_whole_members_and_no_others(tmp_path: Path, tenth: int, ending: str):
    """Each member a stream of its own: what is whole in the file can be had, whatever the blocks of the format are."""
    raw = tar_of(*IMAGES)
    ends = [0, *accumulate(512 + -(-len(content) // 512) * 512 for _, content in IMAGES)]
    streams = [COMPRESSIONS[ending](raw[begin:end]) for begin, end in pairwise([*ends, len(raw)])]
    size = sum(map(len, streams)) * tenth // 10
    whole = sum(total <= size for total in accumulate(map(len, streams)))
    place(tmp_path, b"".join(streams)[:size], f"a.tar.{ending}")
    result = extract.run(settings(tmp_path, delete_archives=True))
    assert (result.exit_code, result.deleted) == (3, [])
    assert "truncated" in str(result.archives[0].broken)
    found = tree(tmp_path / SUBSET)
    assert found.items() <= FILES.items()
    assert {f"images/{number}.jpg" for number in range(whole)} <= set(found)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ending", ["bz2", "xz", "zst"])
def test_flipped_bits_keep_what_came_before_them(tmp_path: Path, seed: int, ending: str):
    draw, raw = random.Random(seed), tar_of(*IMAGES)
    if ending == "zst" and shutil.which("zstd") is None:
        pytest.skip("zstd is not installed, which writes checksums (pyarrow does not)")
    zstd = ["zstd", "-c"]
    packed = bytearray(
        subprocess.run(zstd, input=raw, capture_output=True, check=True).stdout
        if ending == "zst"
        else COMPRESSIONS[ending](raw)
    )
    packed[draw.randrange(len(packed) // 2, len(packed) - 100)] ^= 1 << draw.randrange(8)
    place(tmp_path, bytes(packed), f"a.tar.{ending}")
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 3
    assert result.archives[0].broken is not None
    assert tree(tmp_path / SUBSET).items() <= FILES.items()


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["bz2", "xz", "zst"])
def test_a_bomb_is_left_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str):
    monkeypatch.setattr(chunks, "_FREE_INFLATION", 1 << 20)
    place(tmp_path, COMPRESSIONS[ending](tar_of(info("small", b"1"), info("zeros", bytes(8 << 20)))), f"a.tar.{ending}")
    result = extract.run(settings(tmp_path, max_inflation=100))
    assert "extract.max_inflation" in str(result.archives[0].broken)
    assert tree(tmp_path / SUBSET) == {"small": b"1"}


def test_a_disk_that_fails_while_zstandard_is_read_is_not_a_corrupt_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place(tmp_path, COMPRESSIONS["zst"](tar_of(*IMAGES)), "a.tar.zst")
    real = PartStream.read

    def failing(self: PartStream, size: int = -1) -> bytes:
        if self.tell() > 512 and threading.current_thread().name == "data taken ahead":
            raise OSError(5, "Input/output error")
        return real(self, min(size, 600))

    monkeypatch.setattr(PartStream, "read", failing)
    with pytest.raises(HostError, match="Input/output error"):
        extract.run(settings(tmp_path, workers=1, inputs=[tmp_path / SUBSET / "a.tar.zst"]))
