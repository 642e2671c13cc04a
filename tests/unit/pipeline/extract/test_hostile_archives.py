"""Archives that strangers made: nothing outside the target, the rest unpacked, and a word on each."""

import gzip
import random
from pathlib import Path

import pytest

from aurora_cli.data.media.root import MediaRoot
from aurora_cli.pipeline.extract import command as extract
from tests.archiving import (
    END,
    FILES,
    GOOD,
    IMAGES,
    ONE_BYTE,
    PAYLOAD,
    SUBSET,
    header,
    long_name,
    pax,
    place,
    rejects,
    settings,
    sparse_header,
    tar_of,
    tree,
)

SPARSE_1_0 = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9", "GNU.sparse.name": "x"}

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
    "sparse, more than is stored": sparse_header(size=100, pieces=[(0, 2)], stored=1) + PAYLOAD,
    "sparse, pieces over each other": sparse_header(size=100, pieces=[(0, 1), (0, 1)], stored=2) + PAYLOAD,
    "sparse, behind its end": sparse_header(size=10, pieces=[(10, 1)], stored=1) + PAYLOAD,
    "sparse, longer than a file can be": sparse_header(size=1 << 63, pieces=[(0, 1)], stored=1) + PAYLOAD,
    "sparse by pax, without a map": pax(**{"GNU.sparse.size": "9"}) + header(b"x", size=ONE_BYTE) + PAYLOAD,
    "sparse by pax, half a map": pax(**{"GNU.sparse.size": "9", "GNU.sparse.map": "0,1,2"})
    + header(b"x", size=ONE_BYTE)
    + PAYLOAD,
    "sparse by pax, a map of words": pax(**{"GNU.sparse.size": "9", "GNU.sparse.map": "0,one"})
    + header(b"x", size=ONE_BYTE)
    + PAYLOAD,
    "sparse by pax 1.0, a map longer than its member": pax(**SPARSE_1_0)
    + header(b"x", size=b"00000001000\0")
    + b"900000\n0\n1\n".ljust(512, b"\0"),
    "sparse by pax 1.0, a map of a count alone": pax(**SPARSE_1_0)
    + header(b"x", size=b"00000000012\0")
    + b"many\n0\n1\n".ljust(512, b"\0"),
    "sparse out of the target": pax(**{"GNU.sparse.name": "../x", "GNU.sparse.size": "1", "GNU.sparse.map": "0,1"})
    + header(b"x", size=ONE_BYTE)
    + PAYLOAD,
    "10,000 folders deep": pax(path="d/" * 10_000 + "f") + header(b"x", size=ONE_BYTE) + PAYLOAD,
    "a step of 300 bytes": pax(path="n" * 300) + header(b"x", size=ONE_BYTE) + PAYLOAD,
    "NUL in the name": pax(path="a\0b") + header(b"x", size=ONE_BYTE) + PAYLOAD,
    "no name": header(b"", size=ONE_BYTE) + PAYLOAD,
    "only dots": header(b"./.", size=ONE_BYTE) + PAYLOAD,
    "our own folder": header(b".aurora/a.tar/receipt.json", size=ONE_BYTE) + PAYLOAD,
    "the archive itself": header(b"a.tar", size=ONE_BYTE) + PAYLOAD,
    "the list of refused members": header(b"rejected.jsonl", size=ONE_BYTE) + PAYLOAD,
    "the name of a member that is being written": header(b"a/.aurora-0123abcd.partial", size=ONE_BYTE) + PAYLOAD,
    "parent by GNU's long name": long_name(b"../outside\0") + header(b"innocent", size=ONE_BYTE) + PAYLOAD,
    "link out by pax": pax(linkpath="../../outside") + header(b"link", kind=b"2", link=b"good"),
    "absolute hard link by pax": pax(linkpath="/etc/passwd") + header(b"link", kind=b"1", link=b"good"),
    "empty name by pax": pax(path="") + header(b"innocent", size=ONE_BYTE) + PAYLOAD,
    "NUL in a link": pax(linkpath="good\0../x") + header(b"link", kind=b"2", link=b"good"),
    "hard link to a link": header(b"soft", kind=b"2", link=b"good") + header(b"hard", kind=b"1", link=b"soft"),
    "hard link to what comes later": header(b"link", kind=b"1", link=b"after"),
    "through a loop of links": header(b"a", kind=b"2", link=b"b")
    + header(b"b", kind=b"2", link=b"a")
    + header(b"a/x", size=ONE_BYTE)
    + PAYLOAD,
    "rest of a member of another volume": header(b"rest", kind=b"M", size=ONE_BYTE) + PAYLOAD,
    "GNU's list of a folder": header(b"dump", kind=b"D", size=ONE_BYTE) + PAYLOAD,
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


ONLY_NAMES = {
    "the archive itself",
    "the list of refused members",
    "our own folder",
    "a file over a folder",
    "a folder over a file",
    "through a link inside",
    "through two links outwards",
    "through a loop of links",
}
"""With an index nothing is written for a member: these are names like any other."""


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
    if layout == "index" and kind in ONLY_NAMES:
        return
    assert (result.exit_code, result.rejected) == (3, 1), result.lines()
    (entry,) = rejects(workspace)
    assert entry["archive"].endswith("a.tar")
    assert 1024 <= entry["offset"] < len(GOOD + REFUSED[kind])
    assert entry["reason"]
    said = result.lines()[-1]
    assert all(part in said for part in (entry["archive"], repr(entry["member"]), f"byte {entry['offset']:,}"))


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
    "octal garbage in the size": (GOOD + header(b"x", size=b"zz7zz7zz7zz\0") + END, "corrupt header"),
    "a size of 88 bits": (GOOD + header(b"big", size=b"\x80" + b"\xff" * 11) + PAYLOAD + END, "truncated"),
    "a pax header cut short": (GOOD + pax(path="p" * 900)[:700], "truncated"),
    "pax record longer than its header": (
        GOOD + header(b"p", size=b"00000000014\0", kind=b"x") + b"99 path=abc\n".ljust(512, b"\0") + END,
        "corrupt pax header",
    ),
    "gzip in gzip": (gzip.compress(random.Random(0).randbytes(2_000)), "this is no tar"),
    "wrong checksum": (GOOD + header(b"x").replace(b"ustar", b"USTAR") + END, "corrupt header"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_a_broken_archive_keeps_what_was_whole_and_says_where_it_broke(tmp_path: Path, kind: str, packed: bool):
    content, complaint = BROKEN[kind]
    place(tmp_path, gzip.compress(content) if packed else content, "a.tar.gz")
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 3
    broken = result.archives[0].broken
    assert complaint in broken
    assert "a.tar.gz" in broken
    assert "at byte" in broken
    assert (" member '" in broken) == content.startswith(GOOD)
    assert tree(tmp_path / SUBSET) == ({"good": b"good"} if content.startswith(GOOD) else {})
    again = extract.run(settings(tmp_path))
    assert (again.exit_code, again.archives[0].done_before) == (3, True)
    assert rejects(tmp_path)[0]["reason"] == broken


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_an_archive_cut_anywhere_gives_whole_members_and_no_others(tmp_path: Path, tenth: int, packed: bool):
    raw = tar_of(*IMAGES)
    content = gzip.compress(raw) if packed else raw
    place(tmp_path, content[: len(content) * tenth // 10], "a.tar.gz")
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 3
    assert "truncated" in result.archives[0].broken
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
    draw, raw = random.Random(seed), tar_of(*IMAGES)
    content = bytearray(gzip.compress(raw, 1) if packed else raw)
    for _ in range(3):
        position = draw.randrange(len(content)) if packed else draw.randrange(0, 40 * 3584, 3584) + draw.randrange(512)
        content[position] ^= 1 << draw.randrange(8)
    place(tmp_path / "w", bytes(content), "a.tar.gz")
    before = surroundings(tmp_path / "w")
    result = extract.run(settings(tmp_path / "w"))
    assert surroundings(tmp_path / "w") == before
    assert result.exit_code == 3 or not packed
