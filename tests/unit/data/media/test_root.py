"""`MediaRoot`: a record's path from a folder, an indexed archive, or both."""

import errno
import io
import multiprocessing
import os
import pickle
import tarfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.data.archives.build_index import build_index
from aurora_cli.data.archives.parts import find_archives
from aurora_cli.data.media.root import MediaRoot, MissingMedia
from aurora_cli.errors import DataError

IMAGES = {f"images/{n}.jpg": bytes([n]) * (100 + n) for n in range(50)}


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
    indexed(tmp_path, IMAGES)
    root = MediaRoot(tmp_path)
    assert {path: root.read(path) for path in IMAGES} == IMAGES
    assert all(root.exists(path) and root.local_path(path) is None for path in IMAGES)


def test_an_archive_in_a_folder_below_stands_for_files_in_that_folder(tmp_path: Path):
    indexed(tmp_path / "chart/deep", {"a.jpg": b"1"}, "b.tar")
    root = MediaRoot(tmp_path)
    assert root.read("chart/deep/a.jpg") == b"1"
    assert root.read("./chart//deep/a.jpg") == b"1"
    assert not root.exists("a.jpg")


def test_a_real_file_goes_before_a_member_and_has_a_path(tmp_path: Path):
    indexed(tmp_path, IMAGES)
    (tmp_path / "images").mkdir()
    (tmp_path / "images/0.jpg").write_bytes(b"mine")
    root = MediaRoot(tmp_path)
    assert root.read("images/0.jpg") == b"mine"
    assert root.local_path("images/0.jpg") == tmp_path / "images/0.jpg"


def test_what_is_nowhere_is_missing_by_name(tmp_path: Path):
    indexed(tmp_path, IMAGES)
    root = MediaRoot(tmp_path)
    for path in ("images/99.jpg", "nowhere/x", "images", "", "../x", "a\0b", "n" * 300, "images/0.jpg/x", "/nowhere/x"):
        assert not root.exists(path)
        with pytest.raises(MissingMedia):
            root.read(path)
        with pytest.raises(MissingMedia):
            root.local_path(path)


def test_a_tar_that_changed_after_it_was_indexed_is_noticed(tmp_path: Path):
    indexed(tmp_path, IMAGES)
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[600:700] = b"\xff" * 100
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match="not what was indexed"):
        MediaRoot(tmp_path).read("images/0.jpg")


def test_threads_share_one_root(tmp_path: Path):
    indexed(tmp_path, IMAGES)
    root = MediaRoot(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(root.read, list(IMAGES) * 20)) == list(IMAGES.values()) * 20


def test_a_pickled_root_reads_in_another_place(tmp_path: Path):
    indexed(tmp_path, IMAGES)
    root = MediaRoot(tmp_path)
    root.read("images/1.jpg")
    assert pickle.loads(pickle.dumps(root)).read("images/1.jpg") == IMAGES["images/1.jpg"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_processes_share_one_root(tmp_path: Path):
    indexed(tmp_path, IMAGES)
    root = MediaRoot(tmp_path)
    root.read("images/0.jpg")

    def child() -> None:
        right = all(root.read(path) == content for path, content in IMAGES.items())
        os._exit(0 if right else 1)

    children = [multiprocessing.get_context("fork").Process(target=child) for _ in range(3)]
    for process in children:
        process.start()
    assert all(root.read(path) == content for path, content in IMAGES.items())
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
    indexed(tmp_path, IMAGES)
    (tmp_path / "a.tar").unlink()
    assert not MediaRoot(tmp_path).exists("images/0.jpg")


def test_a_folder_of_frames_is_listed_in_either_layout(tmp_path: Path):
    frames = {f"videos/{video}/frame_{n:03}.jpg": bytes([n]) for video in ("one", "two") for n in range(30, 0, -1)}
    indexed(tmp_path, frames | {"videos/one/deeper/x.jpg": b"x", "top.jpg": b"t"})
    root = MediaRoot(tmp_path)
    assert root.files_in("videos/one") == [f"frame_{n:03}.jpg" for n in range(1, 31)]
    assert root.files_in("./videos//two/") == root.files_in("videos/one")
    assert root.files_in("") == ["a.tar", "a.tar.gz", "a.tar.index"]
    assert [root.files_in(path) for path in ("videos/three", "videos/one/frame_001.jpg", "../x", "a\0b")] == [None] * 4
    (tmp_path / "videos/one").mkdir(parents=True)
    assert root.files_in("videos/one") == [f"frame_{n:03}.jpg" for n in range(1, 31)]
    (tmp_path / "videos/one/mine.jpg").touch()
    assert root.files_in("videos/one") == ["mine.jpg"]


def test_a_video_is_decoded_from_a_folder_of_frames_inside_an_index(tmp_path: Path):
    from aurora_cli.data.media.reader import MediaReader

    frames = {}
    for number in range(4):
        image = io.BytesIO()
        Image.new("RGB", (20, 20), (number * 60, 0, 0)).save(image, "PNG")
        frames[f"video/frame_{number}.png"] = image.getvalue()
    indexed(tmp_path, frames)
    reader = MediaReader(MediaRoot(tmp_path), 14, (0.5, 0.5, 0.5))
    assert reader.is_video("video")
    assert not reader.is_video("video/frame_0.png")
    assert list(reader.video("video", 4)[:, 7, 7, 0]) == [0, 60, 120, 180]


def test_several_roots_are_asked_in_their_order_and_may_be_single_archives(tmp_path: Path):
    indexed(tmp_path / "one", {"x": b"1", "y": b"1"})
    indexed(tmp_path / "two", {"y": b"2", "z": b"2", "d/w": b"2"})
    (tmp_path / "files").mkdir()
    (tmp_path / "files/z").write_bytes(b"f")
    root = MediaRoot(tmp_path / "one", tmp_path / "files", tmp_path / "two/a.tar")
    assert [root.read(path) for path in ("x", "y", "z", "d/w")] == [b"1", b"1", b"f", b"2"]
    assert (root.local_path("z"), root.local_path("x")) == (tmp_path / "files/z", None)
    assert root.files_in("d") == ["w"]
    assert pickle.loads(pickle.dumps(root)).read("./d//w") == b"2"
    assert not root.exists("v")


def test_names_with_equal_hashes_are_told_apart(tmp_path: Path):
    plumless, buckeroo = "plumless", "buckeroo"  # the best-known pair with one CRC-32
    assert zlib.crc32(plumless.encode()) == zlib.crc32(buckeroo.encode())
    names = [f"{folder}/{name}" for folder in (plumless, buckeroo) for name in (plumless, buckeroo)]
    indexed(tmp_path, {name: name.encode() for name in names})
    root = MediaRoot(tmp_path)
    assert [root.read(name) for name in names] == [name.encode() for name in names]
    assert root.files_in(plumless) == [buckeroo, plumless]


@pytest.mark.parametrize("damage", [b"", b"no index", b"\xff" * 100, "cut", "counts"])
def test_an_index_that_is_none_is_named(tmp_path: Path, damage: bytes | str):
    indexed(tmp_path, IMAGES)
    index = tmp_path / "a.tar.index"
    content = index.read_bytes()
    if damage == "cut":
        damage = content[:-100]
    elif damage == "counts":
        damage = content.replace(b'"data_offsets":[0,400]', b'"data_offsets":[0,392]')
        assert damage != content
    index.write_bytes(damage if isinstance(damage, bytes) else b"")
    with pytest.raises(DataError, match=r"a\.tar\.index: is no index"):
        MediaRoot(tmp_path).read("images/0.jpg")


def test_an_index_can_be_opened_as_safetensors(tmp_path: Path):
    from safetensors import safe_open

    indexed(tmp_path, IMAGES)
    with safe_open(tmp_path / "a.tar.index", "np") as index:
        assert index.metadata() == {"tar_size": str((tmp_path / "a.tar").stat().st_size), "source": "a.tar.gz"}
        assert sorted(index.get_tensor("size")) == sorted(map(len, IMAGES.values()))


def test_a_file_that_cannot_be_read_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.jpg").touch()

    def broken(*args: object, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("builtins.open", broken)
    with pytest.raises(DataError, match=r"a\.jpg: cannot be read: Input/output error") as caught:
        MediaRoot(tmp_path).read("a.jpg")
    assert not isinstance(caught.value, MissingMedia)
