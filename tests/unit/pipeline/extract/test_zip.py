"""Zips are read as the tars that they could have been: whole, in parts, in volumes, damaged, hostile."""

import io
import os
import random
import re
import shutil
import stat
import struct
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aurora_cli.config.settings import Settings
from aurora_cli.data.archives.reading import chunks
from aurora_cli.data.download.manifest import DownloadManifest, RemoteFile
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.pipeline import merge_tars
from aurora_cli.pipeline.extract import command as extract
from tests.archiving import IMAGES, SUBSET, place, rejects, settings, tree

LARGE = random.Random(9).randbytes(700_000)
"""More than a chunk."""
CONTENTS = {member.name: content for member, content in IMAGES[:9]} | {
    "large.mp4": LARGE,
    "empty": b"",
    "ü ☃.jpg": b"x" * 999,
}
METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2}


def zip_of(
    contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, modes: dict[str, int] | None = None
) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", method) as file:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, (2024, 5, 6, 7, 8, 10))
            entry.compress_type = method
            entry.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            file.writestr(entry, content)
    return raw.getvalue()


def files_in(folder: Path) -> dict[str, object]:
    found = tree(folder).items()
    return {path: content for path, content in found if content is not None and ".zip" not in path and path[0] != "."}


def first_local(raw: bytes, name: str) -> int:
    """Offset of a member's local header."""
    return zipfile.ZipFile(io.BytesIO(raw)).getinfo(name).header_offset


def changed(raw: bytes, name: str, field: int, value: bytes) -> bytes:
    """A zip with other bytes at `field` of a member's entry in the directory."""
    at = raw.rfind(name.encode()) - 46
    assert raw[at : at + 4] == b"PK\1\2"
    return raw[: at + field] + value + raw[at + field + len(value) :]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", ["files", "index"])
def test_every_member_is_there(tmp_path: Path, method: str, layout: str):
    place(tmp_path, zip_of(CONTENTS, METHODS[method]), "a.zip")
    result = extract.run(settings(tmp_path, layout=layout, delete_archives=True))
    assert (result.exit_code, result.archives[0].members) == (0, len(CONTENTS)), result.lines()
    root = MediaRoot(tmp_path / SUBSET)
    assert all(root.read(name) == content for name, content in CONTENTS.items())
    assert not (tmp_path / SUBSET / "a.zip").exists()
    assert extract.run(settings(tmp_path, layout=layout)).lines()[0].startswith("Nothing to do")


def test_an_empty_zip_has_no_members(tmp_path: Path):
    place(tmp_path, zip_of({}), "a.zip")
    result = extract.run(settings(tmp_path))
    assert (result.exit_code, result.archives[0].members) == (0, 0)


def test_modes_times_links_and_folders_are_kept(tmp_path: Path):
    modes = {"run": stat.S_IFREG | 0o6755, "link": stat.S_IFLNK | 0o777, "folder/": stat.S_IFDIR | 0o755}
    place(tmp_path, zip_of({"run": b"#!", "folder/": b"", "link": b"run"}, modes=modes), "a.zip")
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 0, result.lines()
    target = tmp_path / SUBSET
    assert tree(target) | {"a.zip": None} == {"run": b"#!", "folder": None, "link": ("link", "run"), "a.zip": None}
    assert stat.S_IMODE((target / "run").stat().st_mode) == 0o755
    assert time_of(target / "run") == (2024, 5, 6, 7, 8, 10)


def time_of(path: Path) -> tuple[int, ...]:
    return tuple(time.localtime(path.stat().st_mtime))[:6]


@pytest.mark.parametrize("names", [["a.zip.001", "a.zip.002", "a.zip.003"], [f"a.zip-{n}-of-3" for n in (1, 2, 3)]])
def test_pieces_of_a_zip_are_one_stream(tmp_path: Path, names: list[str]):
    raw = zip_of(CONTENTS)
    for number, name in enumerate(names):
        place(tmp_path, raw[len(raw) * number // 3 : len(raw) * (number + 1) // 3], name)
    result = extract.run(settings(tmp_path, delete_archives=True))
    assert (result.exit_code, result.archives[0].parts, len(result.deleted)) == (0, 3, 3)
    assert files_in(tmp_path / SUBSET) == CONTENTS


def write_files(folder: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def info_zip(tmp_path: Path):
    if shutil.which("zip") is None:
        pytest.skip("Info-ZIP's zip is not installed")
    write_files(tmp_path / "source", CONTENTS)

    def run(*options: str, name: str = "a.zip") -> Path:
        target = tmp_path / SUBSET
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(["zip", "-q", "-r", *options, target / name, "."], cwd=tmp_path / "source", check=True)
        return target

    return run


@pytest.mark.parametrize("layout", ["files", "index"])
def test_volumes_are_read_where_they_lie(tmp_path: Path, info_zip, layout: str):
    target = info_zip("-s", "128k")
    volumes = sorted(target.glob("a.z*"))
    assert len(volumes) > 3
    result = extract.run(settings(tmp_path, layout=layout, delete_archives=True))
    assert (result.exit_code, result.archives[0].parts) == (0, len(volumes)), result.lines()
    root = MediaRoot(target)
    assert all(root.read(name) == content for name, content in CONTENTS.items())
    assert list(target.glob("a.z*")) == []


@pytest.mark.parametrize("lost", ["a.z01", "a.z02", "a.zip"])
def test_a_volume_that_is_missing_is_named(tmp_path: Path, info_zip, lost: str):
    target = info_zip("-s", "128k")
    (target / lost).unlink()
    result = extract.run(settings(tmp_path))
    assert (result.exit_code, result.archives) == (3, [])
    assert f"{lost}" in result.problems[0]


def test_the_last_volume_but_one_that_is_missing_is_told_by_the_directory(tmp_path: Path, info_zip):
    target = info_zip("-s", "128k")
    volumes = sorted(target.glob("a.z??"))
    (target / volumes[-2].name if volumes[-1].name == "a.zip" else volumes[-1]).unlink()
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 3
    assert "it is the last of" in str([result.problems, result.archives])


@pytest.mark.parametrize("here", [["a.z01", "a.zip"], ["a.zip"], ["a.z01", "a.z02"]])
def test_a_volume_that_has_not_been_downloaded_yet_is_named_so(tmp_path: Path, info_zip, here: list[str]):
    target = info_zip("-s", "300k")
    files = [RemoteFile(f"vision/cost/{file.name}", file.stat().st_size) for file in sorted(target.glob("a.z*"))]
    assert [Path(file.path).name for file in files] == ["a.z01", "a.z02", "a.zip"]
    DownloadManifest(repo="a/b", revision="main", commit="", settings={}, files=tuple(files)).write_into(
        tmp_path / "data"
    )
    for file in target.glob("a.z*"):
        if file.name not in here:
            file.unlink()
    result = extract.run(settings(tmp_path))
    assert (result.exit_code, result.archives, len(result.problems)) == (3, [], 1)
    assert re.search(r"(a\.z02|a\.z01|a\.zip).* (has not been downloaded yet|is missing)", result.problems[0])


def test_merging_leaves_volumes_as_they_are(tmp_path: Path, info_zip):
    target = info_zip("-s", "300k")
    before = {file.name: file.stat().st_size for file in target.iterdir()}
    result = merge_tars.run(Settings(workspace=tmp_path))
    assert (result.exit_code, result.archives, result.unread) == (0, [], [])
    assert result.volumes == [str(target / "a.zip")]
    assert "extract reads its volumes" in result.lines()[-1]
    assert {file.name: file.stat().st_size for file in target.iterdir()} == before


def test_what_zip_writes_to_a_pipe_is_read(tmp_path: Path, info_zip):
    """Its local headers have no sizes; the directory has."""
    target = info_zip()
    piped = subprocess.run(["zip", "-q", "-r", "-", "."], cwd=tmp_path / "source", capture_output=True, check=True)
    (target / "a.zip").write_bytes(piped.stdout)
    assert extract.run(settings(tmp_path)).exit_code == 0
    assert files_in(target) == CONTENTS


def test_encrypted_members_are_listed_and_the_rest_is_unpacked(tmp_path: Path, info_zip):
    shutil.move(tmp_path / "source", tmp_path / "plain")
    write_files(tmp_path / "source", {"secret": b"secret"})
    target = info_zip("-P", "word")
    shutil.rmtree(tmp_path / "source")
    shutil.move(tmp_path / "plain", tmp_path / "source")
    info_zip()
    result = extract.run(settings(tmp_path, delete_archives=True))
    assert (result.exit_code, result.rejected, result.deleted) == (3, 1, [])
    (entry,) = rejects(tmp_path)
    assert (entry["member"], entry["reason"]) == ("secret", "is encrypted")
    assert files_in(target) == CONTENTS


HOSTILE = {
    "absolute": ("/tmp/aurora-outside", stat.S_IFREG, b"x"),
    "parent": ("../outside", stat.S_IFREG, b"x"),
    "parent by backslashes": ("..\\outside", 0, b"x"),
    "link out": ("link", stat.S_IFLNK, b"../../outside"),
    "absolute link": ("link", stat.S_IFLNK, b"/etc/passwd"),
    "link of a megabyte": ("link", stat.S_IFLNK, b"a" * (1 << 20)),
    "link with a NUL": ("link", stat.S_IFLNK, b"good\0../x"),
    "device": ("sda", stat.S_IFBLK, b""),
    "fifo": ("pipe", stat.S_IFIFO, b""),
    "socket": ("socket", stat.S_IFSOCK, b""),
    "our own folder": (".aurora/x", stat.S_IFREG, b"x"),
    "the archive itself": ("a.zip", stat.S_IFREG, b"x"),
    "a step of 300 bytes": ("n" * 300, stat.S_IFREG, b"x"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_member_is_refused_and_listed_and_the_rest_is_unpacked(tmp_path: Path, kind: str):
    name, mode, content = HOSTILE[kind]
    raw = zip_of({"good": b"good", name: content, "after": b"after"}, modes={name: mode | 0o644 if mode else 0})
    if kind == "parent by backslashes":  # as made on Windows
        raw = changed(raw.replace(b"../outside", b"..\\outside"), "..\\outside", 5, b"\0")
    place(tmp_path / "w", raw, "a.zip")
    before = {path for path in tmp_path.rglob("*") if SUBSET not in str(path)}
    result = extract.run(settings(tmp_path / "w"))
    assert {path for path in tmp_path.rglob("*") if SUBSET not in str(path)} == before
    assert not Path("/tmp/aurora-outside").exists()
    assert (result.exit_code, result.rejected) == (3, 1), result.lines()
    assert {name: content for name, content in tree(tmp_path / "w" / SUBSET).items() if name in ("good", "after")} == {
        "good": b"good",
        "after": b"after",
    }
    assert len(rejects(tmp_path / "w")) == 1


def test_a_name_with_a_nul_is_refused_under_its_whole_name(tmp_path: Path):
    raw = zip_of({"good": b"good", "aXb": b"x"}).replace(b"aXb", b"a\0b")
    place(tmp_path, raw, "a.zip")
    assert extract.run(settings(tmp_path)).rejected == 1
    assert rejects(tmp_path)[0]["member"] == "a\0b"


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["images/3.jpg", "large.mp4", "empty"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", ["files", "index"])
@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (16, b"\1\2\3\4", "checksum"),
        (10, b"\x5d\0", "Zstandard"),
        (10, b"\x11\1", "number 273"),
        (42, b"\1\0\0\0", "not where"),
    ],
)
def test_a_damaged_member_is_listed_and_the_others_come(
    tmp_path: Path, victim: str, method: str, layout: str, field: int, value: bytes, reason: str
):
    raw = changed(zip_of(CONTENTS, METHODS[method]), victim, field, value)
    place(tmp_path, raw, "a.zip")
    result = extract.run(settings(tmp_path, layout=layout, delete_archives=True))
    assert (result.exit_code, result.rejected, result.archives[0].broken, result.deleted) == (3, 1, None, [])
    (entry,) = rejects(tmp_path)
    assert entry["member"] == victim
    assert reason in entry["reason"]
    root = MediaRoot(tmp_path / SUBSET)
    assert all(root.read(name) == content for name, content in CONTENTS.items() if name != victim)
    assert root.locate(victim) is None
    assert extract.run(settings(tmp_path, layout=layout)).archives[0].done_before


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_were_flipped_cost_their_member_alone(tmp_path: Path, method: str):
    raw = bytearray(zip_of(CONTENTS, METHODS[method]))
    raw[first_local(bytes(raw), "large.mp4") + 600_000] ^= 64
    place(tmp_path, bytes(raw), "a.zip")
    result = extract.run(settings(tmp_path))
    assert (result.exit_code, result.rejected, result.archives[0].broken) == (3, 1, None)
    assert rejects(tmp_path)[0]["member"] == "large.mp4"
    assert files_in(tmp_path / SUBSET) == {name: content for name, content in CONTENTS.items() if name != "large.mp4"}


@pytest.mark.parametrize(
    ("size", "reason"), [(1 << 31, "cannot inflate"), (699_999, "more than"), (700_001, "instead of")]
)
def test_a_size_that_is_a_lie_is_found(tmp_path: Path, size: int, reason: str):
    raw = changed(zip_of(CONTENTS), "large.mp4", 24, struct.pack("<L", size))
    place(tmp_path, raw, "a.zip")
    result = extract.run(settings(tmp_path))
    assert (result.exit_code, result.rejected) == (3, 1)
    assert reason in rejects(tmp_path)[0]["reason"]
    assert files_in(tmp_path / SUBSET) == {name: content for name, content in CONTENTS.items() if name != "large.mp4"}


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("layout", ["files", "index"])
def test_a_zip_cut_anywhere_gives_whole_members_and_no_others(tmp_path: Path, tenth: int, layout: str):
    raw = zip_of(CONTENTS)
    size = len(raw) * tenth // 10
    place(tmp_path, raw[:size], "a.zip")
    result = extract.run(settings(tmp_path, layout=layout, delete_archives=True))
    assert (result.exit_code, result.deleted) == (3, [])
    broken = str(result.archives[0].broken)
    assert "truncated" in broken
    assert "at byte" in broken
    directory = zipfile.ZipFile(io.BytesIO(raw)).infolist()
    ends = [entry.header_offset for entry in directory[1:]] + [zipfile.ZipFile(io.BytesIO(raw)).start_dir]
    root = MediaRoot(tmp_path / SUBSET)
    for entry, end in zip(directory, ends, strict=True):
        if end <= size:
            assert root.read(entry.filename) == CONTENTS[entry.filename]
        else:
            assert root.locate(entry.filename) is None


def test_a_page_that_was_saved_as_a_zip_is_no_zip(tmp_path: Path):
    place(tmp_path, b"<html>Sign in</html>" * 90, "a.zip")
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 3
    assert "this is no zip" in str(result.archives[0].broken)


@pytest.mark.parametrize("cut", [1, 30])
def test_a_directory_that_contradicts_itself_is_said(tmp_path: Path, cut: int):
    raw = zip_of(CONTENTS)
    start = zipfile.ZipFile(io.BytesIO(raw)).start_dir
    place(tmp_path, raw[: start + cut] + bytes(20) + raw[start + cut + 20 :], "a.zip")
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 3
    assert result.archives[0].broken is not None or result.rejected


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bits_in_the_directory_give_no_traceback_and_nothing_outside(tmp_path: Path, seed: int):
    flip_directory(tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 500))
def test_many_flipped_bits_in_the_directory_give_no_traceback_and_nothing_outside(tmp_path: Path, seed: int):
    flip_directory(tmp_path, seed)


def flip_directory(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    raw = bytearray(
        zip_of({name: content[:900] for name, content in CONTENTS.items()}, draw.choice([*METHODS.values()]))
    )
    begin = zipfile.ZipFile(io.BytesIO(raw)).start_dir
    for _ in range(draw.randrange(1, 4)):
        raw[draw.randrange(begin, len(raw))] ^= 1 << draw.randrange(8)
    place(tmp_path / "w", bytes(raw), "a.zip")
    before = {path for path in tmp_path.rglob("*") if SUBSET not in str(path)}
    for layout in ("files", "index"):
        assert extract.run(settings(tmp_path / "w", layout=layout)).exit_code in (0, 3)
    assert {path for path in tmp_path.rglob("*") if SUBSET not in str(path)} == before


def test_a_bomb_is_left_at_the_limit_also_one_whose_members_share_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunks, "_FREE_INFLATION", 1 << 20)
    zeros = bytes(1 << 18)
    place(tmp_path, zip_of({"small": b"1"} | {f"{n:02}": zeros for n in range(32)}), "a.zip")
    shared = zip_of({"small": b"1"} | {f"{n:02}": zeros for n in range(32)})
    first = struct.pack("<L", first_local(shared, "00"))
    for number in range(32):
        shared = changed(shared, f"{number:02}", 42, first)
    place(tmp_path, shared, "b.zip")
    result = extract.run(settings(tmp_path, max_inflation=100))
    assert ["extract.max_inflation" in str(outcome.broken) for outcome in result.archives] == [True, True]
    assert (tmp_path / SUBSET / "small").read_bytes() == b"1"


def test_a_member_beyond_the_old_limits_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """ZIP64, as written from these sizes on; here from a byte on."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as file:
        for name, content in CONTENTS.items():
            with file.open(name, "w", force_zip64=True) as member:
                member.write(content)
    place(tmp_path, raw.getvalue(), "a.zip")
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 0, result.lines()
    assert files_in(tmp_path / SUBSET) == CONTENTS


def test_bytes_before_the_archive_do_not_matter(tmp_path: Path):
    place(tmp_path, b"PK\3\4 a program that unpacks itself " + zip_of(CONTENTS), "a.zip")
    assert extract.run(settings(tmp_path)).exit_code == 0
    assert files_in(tmp_path / SUBSET) == CONTENTS


@pytest.mark.parametrize(
    ("name", "host", "flags", "expected"),
    [
        ("caf\xe9.jpg".encode("cp437"), 0, 0, "café.jpg"),
        ("café.jpg".encode(), 3, 0, "café.jpg"),
        ("café.jpg".encode(), 0, 0x800, "café.jpg"),
        (b"a\\b.jpg", 0, 0, "a/b.jpg"),
        (b"a\\b.jpg", 3, 0, "a\\b.jpg"),
        (b"\xff\xfe", 3, 0, os.fsdecode(b"\xff\xfe")),
    ],
)
def test_names_are_what_their_system_meant(tmp_path: Path, name: bytes, host: int, flags: int, expected: str):
    stand_in = "x" * len(name)
    raw = changed(zip_of({stand_in: b"1"}), stand_in, 5, bytes([host]))
    raw = changed(raw, stand_in, 8, struct.pack("<H", flags)).replace(stand_in.encode(), name)
    place(tmp_path, raw, "a.zip")
    assert extract.run(settings(tmp_path)).exit_code == 0
    assert files_in(tmp_path / SUBSET) == {expected: b"1"}


def test_archives_inside_an_archive_stay_packed_and_a_second_run_has_nothing_to_say_of_them(tmp_path: Path):
    place(
        tmp_path, zip_of({"inner.zip": zip_of({"x": b"1"}), "deep/inner.7z": b"7z", "inner.tar.gz.20": b"?"}), "a.zip"
    )
    for _ in range(2):
        result = extract.run(settings(tmp_path))
        assert (result.exit_code, result.unread) == (0, [])
    assert result.lines()[0].startswith("Nothing to do")
    assert not (tmp_path / SUBSET / "x").exists()


STEPS = st.lists(st.sampled_from(["a", "b", "ü", "x y", "long" * 30]), min_size=1, max_size=3)


@pytest.mark.slow
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    members=st.lists(st.tuples(STEPS, st.binary(max_size=2000), st.sampled_from(list(METHODS))), max_size=12),
    cuts=st.integers(1, 4),
)
def test_any_zip_gives_what_the_standard_library_reads(tmp_path: Path, members: list, cuts: int):
    raw, seen = io.BytesIO(), set()
    with zipfile.ZipFile(raw, "w") as file:
        for steps, content, method in members:
            name = "/".join(steps)
            if any(name.startswith(f"{other}/") or other.startswith(f"{name}/") or name == other for other in seen):
                continue
            seen.add(name)
            file.writestr(name, content, METHODS[method])
    workspace = tmp_path / os.urandom(6).hex()
    packed = raw.getvalue()
    step = -(-len(packed) // cuts)
    for number, begin in enumerate(range(0, len(packed), step)):
        place(workspace, packed[begin : begin + step], f"a.zip.part_{number}")
    expected = zipfile.ZipFile(raw)
    assert extract.run(settings(workspace)).exit_code == 0
    assert files_in(workspace / SUBSET) == {name: expected.read(name) for name in expected.namelist()}
