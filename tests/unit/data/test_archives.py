"""`MediaRoot`: a record's path from a folder, an indexed archive, or both."""

import io
import multiprocessing
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.data.archives import MediaRoot, MissingMedia
from aurora_cli.data.parts import find_archives
from aurora_cli.data.tar_index import build_index
from aurora_cli.errors import DataError

PICTURES = {f"images/{n}.jpg": bytes([n]) * (100 + n) for n in range(50)}


def indexed(folder: Path, members: dict[str, bytes], name: str = "a.tar.gz") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / name, "w:gz" if name.endswith("gz") else "w") as tar:
        for path, content in members.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    for archive in find_archives([folder / name]):
        build_index(archive, folder, settings=ExtractSettings(layout="index"), advance=lambda *_: None)


def test_a_member_is_read_as_if_it_had_been_extracted(tmp_path: Path):
    indexed(tmp_path, PICTURES)
    root = MediaRoot(tmp_path)
    assert {path: root.read(path) for path in PICTURES} == PICTURES
    assert all(root.exists(path) and root.local_path(path) is None for path in PICTURES)


def test_an_archive_in_a_folder_below_stands_for_files_in_that_folder(tmp_path: Path):
    indexed(tmp_path / "chart/deep", {"a.jpg": b"1"}, "b.tar")
    root = MediaRoot(tmp_path)
    assert root.read("chart/deep/a.jpg") == b"1"
    assert root.read("./chart//deep/a.jpg") == b"1"
    assert not root.exists("a.jpg")


def test_a_real_file_goes_before_a_member_and_has_a_path(tmp_path: Path):
    indexed(tmp_path, PICTURES)
    (tmp_path / "images").mkdir()
    (tmp_path / "images/0.jpg").write_bytes(b"mine")
    root = MediaRoot(tmp_path)
    assert root.read("images/0.jpg") == b"mine"
    assert root.local_path("images/0.jpg") == tmp_path / "images/0.jpg"


def test_what_is_nowhere_is_missing_by_name(tmp_path: Path):
    indexed(tmp_path, PICTURES)
    root = MediaRoot(tmp_path)
    for path in ("images/99.jpg", "nowhere/x", "images", "", "../x", "a\0b", "n" * 300, "images/0.jpg/x", "/nowhere/x"):
        assert not root.exists(path)
        with pytest.raises(MissingMedia):
            root.read(path)
        with pytest.raises(MissingMedia):
            root.local_path(path)


def test_a_tar_that_changed_after_it_was_indexed_is_noticed(tmp_path: Path):
    indexed(tmp_path, PICTURES)
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[600:700] = b"\xff" * 100
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match="not what was indexed"):
        MediaRoot(tmp_path).read("images/0.jpg")


def test_threads_share_one_root(tmp_path: Path):
    indexed(tmp_path, PICTURES)
    root = MediaRoot(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(root.read, list(PICTURES) * 20)) == list(PICTURES.values()) * 20


def test_a_pickled_root_reads_in_another_place(tmp_path: Path):
    indexed(tmp_path, PICTURES)
    root = MediaRoot(tmp_path)
    root.read("images/1.jpg")
    assert pickle.loads(pickle.dumps(root)).read("images/1.jpg") == PICTURES["images/1.jpg"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_processes_share_one_root(tmp_path: Path):
    indexed(tmp_path, PICTURES)
    root = MediaRoot(tmp_path)
    root.read("images/0.jpg")

    def child() -> None:
        right = all(root.read(path) == content for path, content in PICTURES.items())
        os._exit(0 if right else 1)

    children = [multiprocessing.get_context("fork").Process(target=child) for _ in range(3)]
    for process in children:
        process.start()
    assert all(root.read(path) == content for path, content in PICTURES.items())
    for process in children:
        process.join()
    assert [process.exitcode for process in children] == [0, 0, 0]


def test_links_inside_the_archive_are_followed(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind, link in (
            ("d/x", tarfile.REGTYPE, ""),
            ("d/soft", tarfile.SYMTYPE, "x"),
            ("softer", tarfile.SYMTYPE, "d/soft"),
            ("hard", tarfile.LNKTYPE, "d/x"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, 0 if link else 3
            tar.addfile(member, io.BytesIO(b"abc"))
    (archive,) = find_archives([tmp_path])
    receipt = build_index(archive, tmp_path, settings=ExtractSettings(layout="index"), advance=lambda *_: None)
    root = MediaRoot(tmp_path)
    assert [root.read(name) for name in ("d/x", "d/soft", "softer", "hard")] == [b"abc"] * 4
    assert (receipt.members, receipt.rejected) == (4, 0)


def test_an_index_without_its_tar_counts_for_nothing(tmp_path: Path):
    indexed(tmp_path, PICTURES)
    (tmp_path / "a.tar").unlink()
    assert not MediaRoot(tmp_path).exists("images/0.jpg")
