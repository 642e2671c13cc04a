"""`aurora extract`: what GNU tar makes of benign archives, nothing outside the target from hostile ones."""

import gzip
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aurora_cli.config.settings import ExtractSettings, Settings
from aurora_cli.data import unpacking
from aurora_cli.data.archives import MediaRoot
from aurora_cli.errors import DataError, HostError
from aurora_cli.pipeline import extract, merge_tars

SUBSET = "data/vision/cost"


def settings(workspace: Path, **options: object) -> Settings:
    return Settings(workspace=workspace, extract=ExtractSettings.model_validate({"sync": False} | options))


def info(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, content


def tar_of(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def place(workspace: Path, content: bytes, name: str = "a.tar") -> Path:
    path = workspace / SUBSET / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def tree(folder: Path) -> dict[str, object]:
    """Path -> content, link target, or None for a folder; our own files left out."""
    found: dict[str, object] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not (name == ".aurora" and Path(parent) == folder)]
        for name in folders + names:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                found[relative] = ("link", str(path.readlink()))
            elif path.is_dir():
                found[relative] = None
            else:
                found[relative] = path.read_bytes()
    return {path: value for path, value in found.items() if ".t" not in path and path != "rejected.jsonl"}


def rejects(workspace: Path) -> list[dict]:
    lines = (workspace / SUBSET / "rejected.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


PICTURES = [info(f"images/{n}.jpg", random.Random(n).randbytes(3000 + n)) for n in range(40)]
FILES = {member.name: content for member, content in PICTURES} | {"images": None}


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_every_member_lands_in_the_archives_folder(tmp_path: Path, name: str):
    raw = tar_of(*PICTURES)
    place(tmp_path, raw if name.endswith(".tar") else gzip.compress(raw), name)
    result = extract.run(settings(tmp_path))
    assert tree(tmp_path / SUBSET) == FILES
    assert (result.exit_code, result.archives[0]["members"], result.archives[0]["broken"]) == (0, 40, None)
    assert not (tmp_path / SUBSET / "rejected.jsonl").exists()


def test_parts_are_read_as_one_stream_and_an_archive_that_is_there_twice_is_extracted_once(tmp_path: Path):
    packed = gzip.compress(tar_of(*PICTURES))
    for index in range(12):
        place(tmp_path, packed[index * 10_000 : (index + 1) * 10_000 if index < 11 else None], f"a.tar.gz_part{index}")
    result = extract.run(settings(tmp_path))
    assert tree(tmp_path / SUBSET) == FILES
    assert result.archives[0]["parts"] == 12
    merge_tars.run(Settings(workspace=tmp_path))
    again = extract.run(settings(tmp_path))
    assert [entry["done_before"] for entry in again.archives] == [True]


def test_output_keeps_the_folders_between_input_and_archive(tmp_path: Path):
    archive = place(tmp_path, tar_of(*PICTURES))
    extract.run(settings(tmp_path, output="out"))
    assert (tmp_path / "out/vision/cost/images/0.jpg").is_file()
    extract.run(settings(tmp_path, inputs=[archive], output="flat"))
    assert (tmp_path / "flat/images/0.jpg").is_file()
    assert not (tmp_path / SUBSET / "images").exists()


def test_a_second_run_does_nothing_and_says_so(tmp_path: Path):
    place(tmp_path, gzip.compress(tar_of(*PICTURES)), "a.tar.gz")
    extract.run(settings(tmp_path))
    picture = tmp_path / SUBSET / "images/0.jpg"
    before = picture.stat().st_ino
    result = extract.run(settings(tmp_path))
    assert result.lines() == ["Nothing to do: 1 archives found, all extracted before."]
    assert picture.stat().st_ino == before


def test_an_archive_that_changed_and_output_that_is_gone_are_extracted_again(tmp_path: Path):
    place(tmp_path, tar_of(*PICTURES))
    extract.run(settings(tmp_path))
    shutil.rmtree(tmp_path / SUBSET / "images")
    extract.run(settings(tmp_path))
    assert tree(tmp_path / SUBSET) == FILES
    place(tmp_path, tar_of(*PICTURES[:5], info("images/5.jpg", b"new")))
    extract.run(settings(tmp_path))
    assert (tmp_path / SUBSET / "images/5.jpg").read_bytes() == b"new"


def test_a_dry_run_touches_nothing(tmp_path: Path):
    place(tmp_path, tar_of(*PICTURES))
    result = extract.run(settings(tmp_path, delete_archives=True), dry_run=True)
    assert [path.name for path in (tmp_path / SUBSET).iterdir()] == ["a.tar"]
    assert "would be extracted into" in result.lines()[0]


def test_nothing_there_says_what_to_run_first(tmp_path: Path):
    with pytest.raises(DataError, match="there is no such") as caught:
        extract.run(settings(tmp_path))
    assert "aurora download" in str(caught.value)
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="no archives"):
        extract.run(settings(tmp_path))


@pytest.mark.parametrize("layout", ["files", "index"])
def test_archives_are_deleted_only_when_they_are_clean_and_a_further_run_is_content(tmp_path: Path, layout: str):
    packed = gzip.compress(tar_of(*PICTURES))
    clean = [place(tmp_path, packed[:50_000], "a.tar.gz.part_0"), place(tmp_path, packed[50_000:], "a.tar.gz.part_1")]
    hostile = place(tmp_path, gzip.compress(tar_of(info("ok", b"1"), info("/absolute", b"2"))), "b.tar.gz")
    cut = place(tmp_path, gzip.compress(tar_of(*PICTURES, form=tarfile.GNU_FORMAT))[:60_000], "c.tar.gz")
    result = extract.run(settings(tmp_path, delete_archives=True, layout=layout))
    assert [path.exists() for path in (*clean, hostile, cut)] == [False, False, True, True]
    assert result.exit_code == 3
    hostile.unlink()
    cut.unlink()
    assert extract.run(settings(tmp_path, delete_archives=True, layout=layout)).exit_code == 0


def test_an_archive_inside_an_archive_stays_packed_unless_it_is_named(tmp_path: Path):
    inner = tar_of(info("inside.txt", b"1"))
    place(tmp_path, tar_of(info("deep/inner.tar", inner)))
    extract.run(settings(tmp_path))
    assert extract.run(settings(tmp_path)).lines()[0].startswith("Nothing to do")
    assert not (tmp_path / SUBSET / "deep/inside.txt").exists()
    extract.run(settings(tmp_path, inputs=[tmp_path / SUBSET / "deep/inner.tar"]))
    assert (tmp_path / SUBSET / "deep/inside.txt").read_bytes() == b"1"


def test_of_members_with_one_name_the_last_stays_and_they_are_counted(tmp_path: Path):
    place(tmp_path, tar_of(info("a", b"first"), info("b", b"1"), info("./a", b"last")))
    result = extract.run(settings(tmp_path))
    assert (tmp_path / SUBSET / "a").read_bytes() == b"last"
    assert result.archives[0]["duplicates"] == 1


def test_nothing_dangerous_is_preserved(tmp_path: Path):
    place(tmp_path, tar_of(info("run", b"#!", mode=0o6777, uid=1, gid=1), info("secret", b"x", mode=0)))
    extract.run(settings(tmp_path))
    assert (tmp_path / SUBSET / "run").stat().st_mode & 0o7022 == 0
    assert (tmp_path / SUBSET / "run").stat().st_uid == os.getuid()
    assert (tmp_path / SUBSET / "secret").stat().st_mode & 0o600 == 0o600


@pytest.mark.parametrize("workers", [1, 3])
def test_several_archives_at_a_time_give_the_same(tmp_path: Path, workers: int):
    for index in range(4):
        place(tmp_path, gzip.compress(tar_of(*PICTURES[index * 10 : index * 10 + 10])), f"{index}.tar.gz")
    extract.run(settings(tmp_path, workers=workers))
    assert tree(tmp_path / SUBSET) == FILES


# --- beside GNU tar


NAMES = st.lists(st.sampled_from(["a", "b", "ü", "long" * 30, "x y", "n\nl", ".h", "-dash"]), min_size=1, max_size=4)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=2000), st.sampled_from("fffffdlh")), max_size=12)
FORMS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def check_like_gnu_tar(tmp_path: Path, members: list, form: int, pieces: int, packed: bool) -> None:
    workspace, theirs = tmp_path / f"{time.monotonic_ns()}", tmp_path / f"gnu{time.monotonic_ns()}"
    theirs.mkdir()
    infos, files, folders = [], [], set()
    for steps, content, kind in members:
        name = "/".join(steps)
        parents = {"/".join(steps[:depth]) for depth in range(1, len(steps))}
        if any(parent in files for parent in parents) or name in folders or (kind == "d" and name in files):
            continue  # a folder of a file's name: tar refuses the one or the other
        if kind == "l":
            infos.append(info(f"{name}.link", type=tarfile.SYMTYPE, linkname=steps[-1]))
        elif kind == "h" and files:
            if name not in files:
                infos.append(info(name, type=tarfile.LNKTYPE, linkname=files[0]))
        elif kind == "d":
            infos.append(info(name, type=tarfile.DIRTYPE, mode=0o755))
            folders.add(name)
        else:
            infos.append(info(name, content))
        folders |= parents
        if kind in "fh" and name not in files:
            files.append(name)
    try:
        raw = tar_of(*infos, form=form)
    except ValueError:  # ustar has no place for such a name
        raw = tar_of(*infos, form=tarfile.PAX_FORMAT)
    subprocess.run(["tar", "xf", "-", "-C", theirs], input=raw, check=True)
    raw = gzip.compress(raw, 1) if packed else raw
    step = -(-len(raw) // pieces)
    for index, begin in enumerate(range(0, len(raw), step)):
        place(workspace, raw[begin : begin + step], f"a.tar.gz.part_{index:03}")
    result = extract.run(settings(workspace))
    assert result.exit_code == 0, result.lines()
    assert tree(workspace / SUBSET) == tree(theirs)
    indexed = extract.run(settings(workspace, layout="index", output="indexed"))
    assert indexed.exit_code == 0 or any(kind == "l" for _, _, kind in members)
    root = MediaRoot(workspace / "indexed/vision/cost")
    for path, content in tree(theirs).items():
        if isinstance(content, bytes):
            assert root.read(path) == content


LIKE_GNU = {"members": MEMBERS, "form": FORMS, "pieces": st.integers(1, 5), "packed": st.booleans()}
FIXTURE_IS_FINE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=FIXTURE_IS_FINE)
@given(**LIKE_GNU)
def test_a_benign_archive_gives_what_gnu_tar_gives(tmp_path: Path, members: list, form: int, pieces: int, packed: bool):
    check_like_gnu_tar(tmp_path, members, form, pieces, packed)


@pytest.mark.soak
@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=FIXTURE_IS_FINE)
@given(**LIKE_GNU)
def test_many_benign_archives_give_what_gnu_tar_gives(
    tmp_path: Path, members: list, form: int, pieces: int, packed: bool
):
    check_like_gnu_tar(tmp_path, members, form, pieces, packed)


# --- hostile archives


def header(name: bytes, *, size: bytes = b"00000000000\0", kind: bytes = b"0", link: bytes = b"") -> bytes:
    """A ustar header made by hand, for what no library writes."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[108:116], block[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    block[124:136], block[136:148] = size, b"00000000000\0"
    block[148:156], block[156:157] = b" " * 8, kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(**records: str) -> bytes:
    content = b""
    for key, value in records.items():
        body = f" {key}={value}\n".encode("utf-8", "surrogateescape")
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length += 1
        content += str(length).encode() + body
    return header(b"pax", size=b"%011o\0" % len(content), kind=b"x") + content + b"\0" * (-len(content) % 512)


END = b"\0" * 10240
GOOD = tar_of(info("good", b"good"))[:1024]
ONE_BYTE = b"00000000001\0"
PAYLOAD = b"!" + b"\0" * 511


def linked(link: str, kind: bytes = tarfile.SYMTYPE, name: str = "link") -> bytes:
    return tar_of(info(name, type=kind, linkname=link))[:-10240].rstrip(b"\0").ljust(1 << 10, b"\0")[:512]


REFUSED: dict[str, bytes] = {
    "absolute path": header(b"/tmp/aurora-outside", size=ONE_BYTE) + PAYLOAD,
    "double slash": header(b"//tmp/aurora-outside", size=ONE_BYTE) + PAYLOAD,
    "parent": header(b"../outside", size=ONE_BYTE) + PAYLOAD,
    "parent in the middle": header(b"a/../../outside", size=ONE_BYTE) + PAYLOAD,
    "parent that stays inside": header(b"a/../b", size=ONE_BYTE) + PAYLOAD,
    "parent as a folder": header(b"../outside/", kind=b"5"),
    "parent by pax": pax(path="../outside") + header(b"innocent", size=ONE_BYTE) + PAYLOAD,
    "absolute link": header(b"link", kind=b"2", link=b"/etc/passwd"),
    "link out": header(b"link", kind=b"2", link=b"../../outside"),
    "link out from below": header(b"a/link", kind=b"2", link=b"../../outside"),
    "link that climbs behind a name": header(b"a/link", kind=b"2", link=b"b/../../../outside"),
    "link to nothing": header(b"link", kind=b"2"),
    "absolute hard link": header(b"link", kind=b"1", link=b"/etc/passwd"),
    "hard link out": header(b"link", kind=b"1", link=b"../secret"),
    "hard link to what is not there": header(b"link", kind=b"1", link=b"nowhere"),
    "hard link to itself": header(b"good", kind=b"1", link=b"good"),
    "character device": header(b"tty", kind=b"3"),
    "block device": header(b"sda", kind=b"4"),
    "fifo": header(b"pipe", kind=b"6"),
    "unknown type": header(b"what", kind=b"Z", size=ONE_BYTE) + PAYLOAD,
    "sparse": header(b"holes", kind=b"S"),
    "10,000 folders deep": pax(path="d/" * 10_000 + "f") + header(b"x", size=ONE_BYTE) + PAYLOAD,
    "a step of 300 bytes": pax(path="n" * 300) + header(b"x", size=ONE_BYTE) + PAYLOAD,
    "NUL in the name": pax(path="a\0b") + header(b"x", size=ONE_BYTE) + PAYLOAD,
    "no name": header(b"", size=ONE_BYTE) + PAYLOAD,
    "only dots": header(b"./.", size=ONE_BYTE) + PAYLOAD,
    "our own folder": header(b".aurora/a.tar/receipt.json", size=ONE_BYTE) + PAYLOAD,
    "the archive itself": header(b"a.tar", size=ONE_BYTE) + PAYLOAD,
    "a file over a folder": header(b"f/x", size=ONE_BYTE) + PAYLOAD + header(b"f", size=ONE_BYTE) + PAYLOAD,
    "a folder over a file": header(b"good/", kind=b"5"),
    "through a link inside": header(b"in", kind=b"2", link=b"d")
    + header(b"d/", kind=b"5")
    + header(b"in/x", size=ONE_BYTE)
    + PAYLOAD,
    "through two links outwards": header(b"d/", kind=b"5")
    + header(b"d/up", kind=b"2", link=b"..")
    + header(b"d/up/up", kind=b"2", link=b".."),
}


def surroundings(workspace: Path) -> dict[str, tuple[int, int]]:
    """Everything outside the subset's folder, with size and time of change."""
    inside = workspace / SUBSET
    paths = [path for path in workspace.parent.rglob("*") if inside not in path.parents]
    return {str(path): (path.lstat().st_size, path.lstat().st_nlink) for path in paths if path.is_file()}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("layout", ["files", "index"])
def test_a_hostile_member_is_refused_and_listed_and_the_rest_is_unpacked(tmp_path: Path, kind: str, layout: str):
    workspace = tmp_path / "w"
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "w/data/vision").mkdir(parents=True)
    (tmp_path / "w/data/vision/secret").write_text("secret")
    after = header(b"after", size=ONE_BYTE) + PAYLOAD
    place(workspace, GOOD + REFUSED[kind] + after + END)
    before = surroundings(workspace)
    result = extract.run(settings(workspace, layout=layout))
    assert surroundings(workspace) == before
    assert not Path("/tmp/aurora-outside").exists()
    root = MediaRoot(workspace / SUBSET)
    assert (root.read("good"), root.read("after")) == (b"good", b"!")
    if layout == "index" and kind in (
        "the archive itself",
        "our own folder",
        "a file over a folder",
        "a folder over a file",
        "through a link inside",
        "through two links outwards",
    ):
        return  # nothing is written, so names are only names
    assert (result.exit_code, result.rejected) == (3, 1), result.lines()
    (entry,) = rejects(workspace)
    assert entry["archive"].endswith("a.tar")
    assert 1024 <= entry["offset"] < len(GOOD + REFUSED[kind])
    assert entry["reason"]


BROKEN: dict[str, tuple[bytes, str]] = {
    "not a tar": (b"no tar at all" * 100, "this is no tar"),
    "empty file": (b"", "truncated"),
    "no end marker": (GOOD, "stops without the end marker"),
    "half an end marker": (GOOD + b"\0" * 512, "end marker is half"),
    "a lone block of zeros": (GOOD + b"\0" * 512 + GOOD + END, "lone block of zeros"),
    "two archives in one stream": (GOOD + END + GOOD + END, "something follows the end marker"),
    "size above the end": (GOOD + header(b"big", size=b"77777777777\0") + PAYLOAD, "truncated"),
    "negative size": (GOOD + header(b"neg", size=b"\xff" * 11 + b"\x80") + END, "corrupt header"),
    "size by pax above the end": (GOOD + pax(size="9" * 30) + header(b"x") + END, "truncated"),
    "negative size by pax": (GOOD + pax(size="-512") + header(b"x") + END, "corrupt pax header"),
    "size by pax that is no number": (GOOD + pax(size="many") + header(b"x") + END, "corrupt pax header"),
    "endless digits": (GOOD + pax(size="1" * 5000) + header(b"x") + END, "corrupt pax header"),
    "pax record of length 0": (
        GOOD + header(b"p", size=b"00000000010\0", kind=b"x") + b"0 path=a".ljust(512, b"\0") + END,
        "corrupt pax header",
    ),
    "a name of a gigabyte": (GOOD + header(b"n", size=b"07777777777\0", kind=b"L") + END, "a name of"),
    "a long name without its member": (GOOD + header(b"n", size=ONE_BYTE, kind=b"L") + PAYLOAD + END, "without its"),
    "wrong checksum": (GOOD + header(b"x").replace(b"ustar", b"USTAR") + END, "corrupt header"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_a_broken_archive_keeps_what_was_whole_and_says_where_it_broke(tmp_path: Path, kind: str, packed: bool):
    content, complaint = BROKEN[kind]
    place(tmp_path, gzip.compress(content) if packed else content, "a.tar.gz")
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 3
    broken = result.archives[0]["broken"]
    assert complaint in broken
    assert "a.tar.gz" in broken
    assert "at byte" in broken
    assert tree(tmp_path / SUBSET) == ({"good": b"good"} if content.startswith(GOOD) else {})
    again = extract.run(settings(tmp_path))
    assert (again.exit_code, again.archives[0]["done_before"]) == (3, True)
    assert rejects(tmp_path)[0]["reason"] == broken


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_an_archive_cut_anywhere_gives_whole_members_and_no_others(tmp_path: Path, tenth: int, packed: bool):
    raw = tar_of(*PICTURES)
    content = gzip.compress(raw) if packed else raw
    place(tmp_path, content[: len(content) * tenth // 10], "a.tar.gz")
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 3
    assert "truncated" in result.archives[0]["broken"]
    found = tree(tmp_path / SUBSET)
    assert found.items() <= FILES.items()
    assert len(found) >= min(tenth * 4 - 4, 40)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_flipped_bits_give_no_traceback_and_nothing_outside(tmp_path: Path, seed: int, packed: bool):
    flip_bits(tmp_path, seed, packed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 300))
def test_many_flipped_bits_give_no_traceback_and_nothing_outside(tmp_path: Path, seed: int):
    flip_bits(tmp_path, seed, packed=bool(seed % 2))


def flip_bits(tmp_path: Path, seed: int, packed: bool) -> None:
    draw, raw = random.Random(seed), tar_of(*PICTURES)
    content = bytearray(gzip.compress(raw, 1) if packed else raw)
    for _ in range(3):
        position = draw.randrange(len(content)) if packed else draw.randrange(0, 40 * 3584, 3584) + draw.randrange(512)
        content[position] ^= 1 << draw.randrange(8)
    place(tmp_path / "w", bytes(content), "a.tar.gz")
    before = surroundings(tmp_path / "w")
    result = extract.run(settings(tmp_path / "w"))
    assert surroundings(tmp_path / "w") == before
    assert result.exit_code == 3 or not packed


@pytest.mark.parametrize("tail", [b"\0" * 5000, b""])
def test_a_gzip_of_several_members_is_one_stream(tmp_path: Path, tail: bytes):
    raw = tar_of(*PICTURES)
    packed = gzip.compress(raw[:9999]) + gzip.compress(b"") + gzip.compress(raw[9999:]) + tail
    place(tmp_path, packed, "a.tar.gz")
    assert extract.run(settings(tmp_path)).exit_code == 0
    assert tree(tmp_path / SUBSET) == FILES


def test_garbage_behind_a_gzip_stream_is_said(tmp_path: Path):
    place(tmp_path, gzip.compress(tar_of(*PICTURES)) + b"garbage", "a.tar.gz")
    result = extract.run(settings(tmp_path))
    assert "not gzip" in result.archives[0]["broken"]
    assert tree(tmp_path / SUBSET) == FILES


def test_a_bomb_is_left_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from aurora_cli.data import inflating

    monkeypatch.setattr(inflating, "_FREE_INFLATION", 1 << 20)
    place(tmp_path, gzip.compress(tar_of(info("small", b"1"), info("zeros", bytes(8 << 20)))), "a.tar.gz")
    result = extract.run(settings(tmp_path, max_inflation=100))
    assert "extract.max_inflation" in result.archives[0]["broken"]
    assert tree(tmp_path / SUBSET) == {"small": b"1"}
    assert (
        extract.run(settings(tmp_path / "w2", inputs=[tmp_path / SUBSET], output="o", max_inflation=2000)).exit_code
        == 0
    )


def test_a_link_that_was_there_before_is_not_written_through(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    place(tmp_path, tar_of(info("images/a.jpg", b"1"), info("b.jpg", b"2")))
    (tmp_path / SUBSET / "images").symlink_to(outside)
    (tmp_path / SUBSET / "b.jpg").symlink_to(outside / "b.jpg")
    result = extract.run(settings(tmp_path))
    assert list(outside.iterdir()) == []
    assert result.rejected == 1
    assert (tmp_path / SUBSET / "b.jpg").read_bytes() == b"2"


def test_names_that_are_odd_but_legal_come_as_they_are(tmp_path: Path):
    odd = [b"new\nline", b"latin-\xe4", b"\xff\xfe", "snow ☃".encode(), b" ", b"*?[a]", b"-rf"]
    place(tmp_path, b"".join(header(name, size=ONE_BYTE) + PAYLOAD for name in odd) + END)
    assert extract.run(settings(tmp_path)).exit_code == 0
    assert {os.fsencode(name) for name in tree(tmp_path / SUBSET)} == set(odd)


def test_a_set_of_parts_with_a_gap_is_named_and_the_others_are_extracted(tmp_path: Path):
    place(tmp_path, b"x", "bad.tar.gz.part_000")
    place(tmp_path, b"x", "bad.tar.gz.part_002")
    place(tmp_path, tar_of(*PICTURES))
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 3
    assert "part bad.tar.gz.part_001 is missing" in result.problems[0]
    assert tree(tmp_path / SUBSET) == FILES


# --- crashes


def test_a_full_disk_ends_the_run_and_space_lets_it_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unpacking, "GROUP_BYTES", 20_000)
    place(tmp_path, tar_of(*PICTURES))
    real: Callable = unpacking.FolderWriter.write_file
    written: list[str] = []

    def full(self: unpacking.FolderWriter, steps: list[str], *rest: object, **options: object) -> None:
        written.append(steps[-1])
        if len(written) == 30:
            raise OSError(28, "No space left on device")
        real(self, steps, *rest, **options)

    monkeypatch.setattr(unpacking.FolderWriter, "write_file", full)
    with pytest.raises(HostError, match="the disk is full"):
        extract.run(settings(tmp_path))
    first = len(written)
    extract.run(settings(tmp_path))
    assert tree(tmp_path / SUBSET) == FILES
    assert len(written) - first <= 40 - 29 + 7, "more than a group was written again"


def killed_campaign(tmp_path: Path, kills: int, layout: str) -> None:
    """kill -9 at random moments; what the journal says is durable is never written again."""
    pictures = [info(f"images/{n:04}.jpg", random.Random(n).randbytes(20_000)) for n in range(600)]
    place(tmp_path, gzip.compress(tar_of(*pictures), 1), "a.tar.gz")
    code = (
        "import sys; from pathlib import Path; from aurora_cli.config.settings import *; "
        "from aurora_cli.data import unpacking, tar_index; from aurora_cli.pipeline import extract; "
        "unpacking.GROUP_BYTES = tar_index.GROUP_BYTES = 200_000; print('ready', flush=True); "
        "extract.run(Settings(workspace=Path(sys.argv[1]), extract=ExtractSettings(layout=sys.argv[2])))"
    )
    draw = random.Random(kills)
    target, journal = tmp_path / SUBSET, tmp_path / SUBSET / ".aurora/a.tar.gz/journal.jsonl"
    durable: dict[str, int] = {}
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), layout], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if layout == "files" and journal.exists():
            for name, inode in durable.items():
                assert (target / name).stat().st_ino == inode, f"{name} was durable and was written again"
            lines = [json.loads(line) for line in journal.read_text().split("\n")[1:-1]]
            members = lines[-1]["members"] if lines else 0
            durable = {m.name: (target / m.name).stat().st_ino for m, _ in pictures[:members]}
    extract.run(settings(tmp_path, layout=layout))
    root = MediaRoot(target)
    assert all(root.read(member.name) == content for member, content in pictures)
    assert all((target / name).stat().st_ino == inode for name, inode in durable.items())
    assert not journal.exists()


@pytest.mark.parametrize("layout", ["files", "index"])
def test_a_killed_extraction_continues(tmp_path: Path, layout: str):
    killed_campaign(tmp_path, 3, layout)


@pytest.mark.soak
@pytest.mark.parametrize("layout", ["files", "index"])
@pytest.mark.parametrize("seed", range(4))
def test_an_extraction_killed_many_times_continues(tmp_path: Path, layout: str, seed: int):
    killed_campaign(tmp_path, 5 + seed, layout)


@pytest.mark.soak
@pytest.mark.parametrize("layout", ["files", "index"])
def test_memory_does_not_grow_with_the_archive(tmp_path: Path, layout: str):
    big = tmp_path / SUBSET / "a.tar"
    big.parent.mkdir(parents=True)
    with open(big, "wb") as file:
        file.write(header(b"big", size=b"%011o\0" % (4 << 30)))
        file.seek(4 << 30, os.SEEK_CUR)
        file.write(END)
    code = (
        "import sys, resource; from pathlib import Path; from aurora_cli.config.settings import *; "
        "from aurora_cli.pipeline import extract; "
        "extract.run(Settings(workspace=Path(sys.argv[1]), extract=ExtractSettings(layout=sys.argv[2]))); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, str(tmp_path), layout]
    assert int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) < 250 * 1024
