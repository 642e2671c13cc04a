"""What looks like an archive and is not read is named; what lies beside archives is not."""

from pathlib import Path

import pytest

from aurora_cli.data.archives.finding.unread import find_unread, looks_like_archive

READ = [
    *(
        "a.tar",
        "a.tar.gz",
        "a.tgz",
        "a.tar.bz2",
        "a.tbz2",
        "a.tar.xz",
        "a.txz",
        "a.tar.zst",
        "a.tzst",
        "a.zip",
        "A.ZIP",
    ),
    *("b.tar.gz.part_000", "b.tar.gz_part1", "c.tar.part-aa", "d.tar.xz.partaa", "e.tar.gz-00001-of-00004"),
    *("f.zip.001", "f.zip.002", "g.z01", "g.zip", "h.tar.gz.aa", "h.tar.gz.ab", "i.zip-0-of-2"),
]
NO_ARCHIVES = [
    *(
        "x.jsonl",
        "x.jsonl.gz",
        "x.json.gz",
        "x.jpg",
        "x.mp4",
        "x.npz",
        "x.parquet",
        "x.tar.index",
        "x.tar.gz.md5",
        "x.bz2",
    ),
    *("x.zip.sha256", "x.tar.gz.part_000.md5", "x.tar.gz.md", "x.tar.gz.json", "x.rar.txt", "start.tart", "x.target.1"),
    *(".x.tar.gz.part_000", ".x.7z", "x.tar.gz.bak", "zip", "x.tar.gz.torrent", "x.z"),
]
UNREAD = {
    "x.7z": "7z x",
    "x.7z.001": "7z x",
    "x.rar": "unrar x",
    "x.part1.rar": "unrar x",
    "x.r00": "unrar x",
    "X.RAR": "unrar x",
    "x.tar.lz4": "make a .tar of it",
    "x.tar.lzma": "make a .tar of it",
    "x.tar.Z": "make a .tar of it",
    "x.tar.gz.gpg": "make a .tar of it",
    "x.zx01": "the program that made it",
    "x.tar.gz.crdownload": "let the program that began it finish",
    "x.zip.part": "let the program that began it finish",
    "x.tar.gz.part_000.partial": "let the program that began it finish",
    "x.tar.gz.20": "part_000",
    "x.tar.gz.bb": "part_000",
    "x.tar.gz(1)": "part_000",
    "x.tar.gz.chunk3": "part_000",
    "x.zip.split-2": "part_000",
    "x.iso": "unpack it where it lies",
}


@pytest.mark.parametrize("name", READ + NO_ARCHIVES)
def test_nothing_is_said_of(tmp_path: Path, name: str):
    for neighbour in READ:
        (tmp_path / neighbour).touch()
    (tmp_path / name).touch()
    assert find_unread([tmp_path]) == []
    assert name[0] == "." or find_unread([tmp_path / name]) == []


@pytest.mark.parametrize("name", UNREAD)
def test_it_is_named_with_what_to_do(tmp_path: Path, name: str):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er" / name).touch()
    (tmp_path / "deep/er/a.tar").touch()
    (unread,) = find_unread([tmp_path])
    assert unread.path == tmp_path / "deep/er" / name
    assert UNREAD[name] in unread.message
    assert find_unread([unread.path]) == [unread]


@pytest.mark.parametrize("name", [*READ, *UNREAD])
def test_all_of_them_look_like_archives(name: str):
    assert looks_like_archive(name)


@pytest.mark.parametrize(
    "name", ["x.jpg", "x.mp4", "x.jsonl", "x.txt", "x.target.png", "x.tart", "zip", "a.part/1.jpg", "x.tar.md5"]
)
def test_other_members_do_not(name: str):
    assert not looks_like_archive(name)
