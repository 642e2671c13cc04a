"""`MediaRoot`: a record's path from a folder, an indexed archive, or both."""

import errno
import io
import multiprocessing
import os
import pickle
import tarfile
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.data.archives.build_index import build_index
from aurora_cli.data.archives.finding.parts import find_archives
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
        build_index(archive, folder, settings=ExtractSettings(layout="index", sync=False), advance=lambda *_: None)


def test_a_member_is_read_as_if_it_had_been_extracted(tmp_path: Path):
    indexed(tmp_path, IMAGES)
    root = MediaRoot(tmp_path)
    assert {path: root.read(path) for path in IMAGES} == IMAGES
    assert {path: root.open(path) for path in IMAGES} == IMAGES
    assert {root.locate(path) for path in IMAGES} == {"indexed"}


def test_an_archive_in_a_folder_below_stands_for_files_in_that_folder(tmp_path: Path):
    indexed(tmp_path / "chart/deep", {"a.jpg": b"1"}, "b.tar")
    root = MediaRoot(tmp_path)
    assert root.read("chart/deep/a.jpg") == b"1"
    assert root.read("./chart//deep/a.jpg") == b"1"
    assert root.locate("a.jpg") is None


def test_a_real_file_goes_before_a_member_and_has_a_path(tmp_path: Path):
    indexed(tmp_path, IMAGES)
    (tmp_path / "images").mkdir()
    (tmp_path / "images/0.jpg").write_bytes(b"mine")
    root = MediaRoot(tmp_path)
    assert root.read("images/0.jpg") == b"mine"
    assert root.open("images/0.jpg") == tmp_path / "images/0.jpg"
    assert root.locate("images/0.jpg") == "file"


def test_what_is_nowhere_is_missing_by_name(tmp_path: Path):
    indexed(tmp_path, IMAGES)
    root = MediaRoot(tmp_path)
    nowhere = ("images/99.jpg", "nowhere/x", "../x", "a\0b", "\ud800", "n" * 300, "images/0.jpg/x", "/nowhere/x")
    for path in (*nowhere, "images", ""):
        with pytest.raises(MissingMedia):
            root.read(path)
        with pytest.raises(MissingMedia):
            root.open(path)
    assert [root.locate(path) for path in nowhere] == [None] * len(nowhere)


def test_a_folder_with_files_is_there_in_either_layout_and_an_empty_one_is_not(tmp_path: Path):
    indexed(tmp_path, {"videos/one/0.jpg": b"0"})
    (tmp_path / "plain/empty").mkdir(parents=True)
    (tmp_path / "plain/0.jpg").touch()
    root = MediaRoot(tmp_path)
    found = {path: root.locate(path) for path in ("videos/one", "videos", "plain", "plain/empty")}
    assert found == {"videos/one": "indexed", "videos": None, "plain": "folder", "plain/empty": None}


def test_a_tar_that_changed_after_it_was_indexed_is_noticed(tmp_path: Path):
    indexed(tmp_path, IMAGES)
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[600:700] = b"\xff" * 100
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match="not what was indexed"):
        MediaRoot(tmp_path).read("images/0.jpg")


@pytest.mark.slow
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
    receipt = build_index(
        archive, tmp_path, settings=ExtractSettings(layout="index", sync=False), advance=lambda *_: None
    )
    root = MediaRoot(tmp_path)
    assert [root.read(name) for name in ("d/x", "d/soft", "softer", "hard")] == [b"abc"] * 4
    assert (receipt.members, receipt.rejected) == (4, 0)


def test_an_index_without_its_tar_counts_for_nothing(tmp_path: Path):
    indexed(tmp_path, IMAGES)
    (tmp_path / "a.tar").unlink()
    assert MediaRoot(tmp_path).locate("images/0.jpg") is None


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
    assert (root.open("z"), root.open("x")) == (tmp_path / "files/z", b"1")
    assert root.files_in("d") == ["w"]
    assert pickle.loads(pickle.dumps(root)).read("./d//w") == b"2"
    assert root.locate("v") is None


def test_frames_of_one_folder_may_come_from_several_archives(tmp_path: Path):
    indexed(tmp_path, {"all/video/1.jpg": b"1", "all/video/3.jpg": b"3"}, "a.tar")
    indexed(tmp_path, {"all/video/2.jpg": b"2"}, "b.tar")
    indexed(tmp_path / "all", {"video/4.jpg": b"4"}, "c.tar")
    root = MediaRoot(tmp_path)
    assert root.files_in("all/video") == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert [root.read(f"all/video/{number}.jpg") for number in range(1, 5)] == [b"1", b"2", b"3", b"4"]


NAMES = st.text(st.sampled_from("ab.-é \n\udc80"), min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.one_of(NAMES, st.sampled_from(["", ".", "..", "a\0b", "\ud800"]))
QUERIES = st.lists(STEPS, max_size=5).map("/".join)


def laid_out(folder: Path, members: dict[str, bytes]) -> None:
    """As extracting them would do: what is in the way of a later one is no member."""
    for path, content in list(members.items()):
        try:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        except OSError:  # a file where a folder should be, or the other way round
            del members[path]


@pytest.mark.slow
@settings(max_examples=100)
@given(members=st.dictionaries(PATHS, st.binary(max_size=20), max_size=8), queries=st.lists(QUERIES, max_size=20))
def test_an_index_answers_like_a_folder_with_the_same_files(members: dict[str, bytes], queries: list[str]):
    """Of any members, for any path; below a folder of the archive's own, for beside it lie the tar and its index."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "plain/top").mkdir(parents=True)
        laid_out(work / "plain/top", members)
        indexed(work / "index", {f"top/{path}": content for path, content in members.items()}, "x.tar")
        plain, index, tar = MediaRoot(work / "plain"), MediaRoot(work / "index"), MediaRoot(work / "index/x.tar")
        parents = {str(PurePosixPath(path).parent) for path in members}
        for below in [*members, *parents, *queries, *(f"{path}/" for path in members)]:
            path = f"top/{below}"
            if os.path.normpath(path.replace("\0", "-")).split("/")[0] == "top":
                expected = answers(plain, path)
                assert answers(index, path) == expected, path
                assert answers(tar, path) == expected, path


def answers(root: MediaRoot, path: str) -> tuple[bool, bytes | None, bytes | None, list[str]]:
    """Whether it is there, its content twice, the files in it."""
    try:
        opened = root.open(path)
        content = opened.read_bytes() if isinstance(opened, Path) else opened
    except MissingMedia:
        content = None
    try:
        read = root.read(path)
    except MissingMedia:
        read = None
    return root.locate(path) is not None, content, read, root.files_in(path) or []


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
