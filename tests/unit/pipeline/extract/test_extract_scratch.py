"""`aurora extract --scratch`: the work on another disk, and the same files at the target, whatever goes wrong."""

import errno
import gzip
import json
import multiprocessing
import os
import random
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.data.archives import safe_folder, seekable_copy, unpack
from aurora_cli.data.archives.safe_folder import FolderWriter
from aurora_cli.data.archives.staging import moving
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.errors import DiskError, HostError, UsageError
from aurora_cli.pipeline.extract import command as extract
from tests.archiving import FILES, IMAGES, SUBSET, info, place, rejects, settings, tar_of, tree

SHARED_MEMORY = Path("/dev/shm")

MEMBERS = [
    *IMAGES,
    info("images/7.jpg", b"the later one"),
    info("hard", type=tarfile.LNKTYPE, linkname="images/3.jpg"),
    info("soft", type=tarfile.SYMTYPE, linkname="images/4.jpg"),
    info("empty", type=tarfile.DIRTYPE),
    info("../out", b"hostile"),
    info("none", b"", mtime=1_000),
]


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """On another disk than the tests' folders."""
    if not SHARED_MEMORY.is_dir() or SHARED_MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second disk here")
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        yield Path(folder)


def work_in(scratch: Path) -> list[Path]:
    """What an archive has on scratch."""
    return [*(scratch / f"aurora-{os.getuid()}/extract").iterdir()]


def facts(folder: Path) -> dict[str, tuple[int, float]]:
    """Mode and time of every file."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.stat().st_mtime)
        for path in files
        if ".aurora" not in path.parts and ".t" not in path.name and path.name != "rejected.jsonl"
    }


@pytest.mark.parametrize("layout", ["files", "index"])
def test_by_way_of_scratch_the_target_is_what_it_is_without(tmp_path: Path, scratch: Path, layout: str):
    results = {}
    for name, given in {"plain": {}, "staged": {"scratch": scratch}}.items():
        place(tmp_path / name, gzip.compress(tar_of(*MEMBERS)), "a.tar.gz")
        place(tmp_path / name, tar_of(info("b/1.jpg", b"b")), "b.tar")
        results[name] = extract.run(settings(tmp_path / name, layout=layout, **given))
    plain, staged = (tmp_path / name / SUBSET for name in results)
    assert tree(staged) == tree(plain)
    assert facts(staged) == facts(plain) or layout == "index"
    assert (staged / "hard").exists() == (layout == "files")
    for name in ("members", "bytes", "duplicates", "rejected", "broken"):
        one, other = ([getattr(each, name) for each in result.archives] for result in results.values())
        assert one == other
    assert [(line["member"], line["reason"]) for line in rejects(tmp_path / "staged")] == [
        (line["member"], line["reason"]) for line in rejects(tmp_path / "plain")
    ]
    assert all(MediaRoot(staged).read(name) == MediaRoot(plain).read(name) for name in FILES if name != "images")
    assert work_in(scratch) == []
    assert "Nothing to do" in "\n".join(extract.run(settings(tmp_path / "staged", layout=layout)).lines())


def test_names_of_one_file_stay_one_file(tmp_path: Path, scratch: Path):
    place(tmp_path, gzip.compress(tar_of(*MEMBERS)), "a.tar.gz")
    extract.run(settings(tmp_path, scratch=scratch))
    assert (tmp_path / SUBSET / "hard").stat().st_ino == (tmp_path / SUBSET / "images/3.jpg").stat().st_ino


def test_holes_stay_holes(tmp_path: Path, scratch: Path):
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "holes.bin", "wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"content")
    subprocess.run(["tar", "-S", "-czf", tmp_path / "a.tar.gz", "-C", source, "holes.bin"], check=True)
    place(tmp_path, (tmp_path / "a.tar.gz").read_bytes(), "a.tar.gz")
    extract.run(settings(tmp_path, scratch=scratch))
    made = tmp_path / SUBSET / "holes.bin"
    assert made.read_bytes() == (source / "holes.bin").read_bytes()
    assert made.stat().st_blocks * 512 < 1 << 20


def test_the_target_is_not_written_outside_of_through_a_link_that_is_there(tmp_path: Path, scratch: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = place(
        tmp_path, gzip.compress(tar_of(*IMAGES, info("a.tar.gz", b"itself"), info("x/y", b"y"))), "a.tar.gz"
    )
    content = archive.read_bytes()
    (archive.parent / "images").symlink_to(outside)
    (archive.parent / "x").write_bytes(b"a file")
    result = extract.run(settings(tmp_path, scratch=scratch))
    assert result.exit_code == 3
    assert [*outside.iterdir()] == []
    assert archive.read_bytes() == content
    listed = {line["member"]: line["reason"] for line in rejects(tmp_path)}
    assert len(listed) == len(IMAGES) + 2
    assert listed["images/1.jpg"] == "lies in 'images', which is a link or a file, not a folder"
    assert listed["a.tar.gz"] == "has the name of a file that is in use"
    assert result.archives[0].members == 0
    assert "x/y' lies in 'x'" in "\n".join(result.lines())


@pytest.mark.parametrize(("given", "kind", "message"), [
    ("nowhere", UsageError, "is not there; a folder on a disk of this machine was expected"),
    ("a-file", UsageError, "is no folder"),
])  # fmt: skip
def test_a_scratch_that_is_none_is_said_before_anything_is_read(
    tmp_path: Path, given: str, kind: type[Exception], message: str
):
    place(tmp_path, tar_of(*IMAGES))
    (tmp_path / "a-file").touch()
    for dry_run in (True, False):
        with pytest.raises(kind, match=f"extract.scratch: .*{given}: {message}"):
            extract.run(settings(tmp_path, scratch=tmp_path / given), dry_run=dry_run)
    assert not (tmp_path / SUBSET / "images").exists()


def test_a_scratch_that_is_somebody_elses_is_not_used(tmp_path: Path, scratch: Path):
    place(tmp_path, tar_of(*IMAGES))
    (scratch / f"aurora-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(HostError, match="is somebody else's, or no folder"):
        extract.run(settings(tmp_path, scratch=scratch))


def test_a_scratch_on_the_same_disk_is_left_out_and_said(tmp_path: Path):
    class Heard(extract.Reporter):
        warnings: list[str] = []  # noqa: RUF012

        def warning(self, message: str) -> None:
            self.warnings.append(message)

    place(tmp_path, tar_of(*IMAGES))
    (tmp_path / "here").mkdir()
    extract.run(settings(tmp_path, scratch=tmp_path / "here"), Heard())
    assert tree(tmp_path / SUBSET) == FILES
    assert "is on the disk of" in Heard.warnings[0]


@pytest.fixture
def small_scratch(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A disk of its own, to be mounted again with other options."""
    disk = tmp_path / "scratch"
    disk.mkdir()

    def mount(options: str) -> Path:
        remount = "remount," if os.path.ismount(disk) else ""
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", remount + options, "tmpfs", disk], capture_output=True)
        if done.returncode != 0:
            pytest.skip("this machine lets nobody mount a tmpfs")
        return disk

    yield mount
    if os.path.ismount(disk):
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("layout", ["files", "index"])
def test_a_full_scratch_is_exit_4_with_the_ways_out_and_each_of_them_works(
    tmp_path: Path, small_scratch: Callable[[str], Path], layout: str
):
    for way in ("larger", "without"):
        workspace = tmp_path / way
        place(workspace, gzip.compress(tar_of(*IMAGES)), "a.tar.gz")
        given = settings(workspace, scratch=small_scratch("size=60k"), layout=layout)
        with pytest.raises(HostError, match=r"scratch.*: the disk is full") as raised:
            extract.run(given)
        assert "leave --scratch out" in str(raised.value)
        if way == "larger":
            small_scratch("size=8m")
        else:
            given = settings(workspace, layout=layout)
        assert extract.run(given).exit_code == 0
        assert all(MediaRoot(workspace / SUBSET).read(member.name) == content for member, content in IMAGES)


def test_a_scratch_that_is_read_only_is_exit_4(tmp_path: Path, small_scratch: Callable[[str], Path]):
    place(tmp_path, tar_of(*IMAGES))
    extract.run(settings(tmp_path, scratch=small_scratch("size=8m")))
    with pytest.raises(HostError, match=r"scratch.*cannot be written: Read-only") as raised:
        extract.run(settings(tmp_path, scratch=small_scratch("ro"), layout="index"))
    assert "leave it out" in str(raised.value)


def test_a_scratch_on_which_no_file_may_be_large_has_the_same_ways_out(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
):
    place(tmp_path, gzip.compress(tar_of(*IMAGES)), "a.tar.gz")

    def bounded(*_: object, **__: object) -> None:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(FolderWriter, "write_file", bounded)
    with pytest.raises(DiskError, match="no file may become so large there") as raised:
        extract.run(settings(tmp_path, scratch=scratch))
    assert raised.value.path.is_relative_to(scratch)
    assert "leave --scratch out" in str(raised.value)
    with pytest.raises(DiskError, match=f"{SUBSET}: no file may become so large there") as raised:
        extract.run(settings(tmp_path))
    assert "--scratch" not in str(raised.value)


def test_a_full_target_keeps_what_is_on_scratch_and_space_lets_it_continue(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(moving, "GROUP_BYTES", 20_000)
    place(tmp_path, gzip.compress(tar_of(*IMAGES)), "a.tar.gz")
    real: Callable = FolderWriter.write_file
    at_target: list[str] = []

    def full(self: FolderWriter, steps: list[str], *rest: object, **options: object) -> None:
        if str(scratch) not in os.readlink(f"/proc/self/fd/{self._root}"):  # noqa: PTH115
            at_target.append(steps[-1])
            if len(at_target) == 30:
                raise OSError(28, "No space left on device")
        real(self, steps, *rest, **options)

    monkeypatch.setattr(FolderWriter, "write_file", full)
    with pytest.raises(HostError, match=f"{SUBSET}: the disk is full"):
        extract.run(settings(tmp_path, scratch=scratch))
    first = len(at_target)
    assert len(work_in(scratch)) == 1
    extract.run(settings(tmp_path, scratch=scratch))
    assert tree(tmp_path / SUBSET) == FILES
    assert len(at_target) - first <= 40 - 29 + 7, "more than a group was moved again"
    assert work_in(scratch) == []


def extract_until_killed(given: Settings, pieces: int) -> bool:
    """Extract in a process that is killed in the middle of a piece of a file; whether it had ended before."""

    def fill(content: Iterable[memoryview], descriptor: int) -> None:
        nonlocal pieces
        for piece in content:
            pieces -= 1
            os.write(descriptor, piece[: len(piece) // (2 if pieces < 0 else 1)])
            if pieces < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        safe_folder._fill = fill
        extract.run(given)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    return process.exitcode == 0


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["files", "index"])
def test_kill_9_in_either_half_leaves_what_the_next_run_makes_whole(
    tmp_path: Path, scratch: Path, layout: str, monkeypatch: pytest.MonkeyPatch
):
    draw = random.Random(layout)
    images = [info(f"{n % 7}/{n:03}.jpg", draw.randbytes(20_000)) for n in range(100)]
    expected = {member.name: content for member, content in images}
    place(tmp_path, gzip.compress(tar_of(*images), 1), "a.tar.gz")
    for module in (unpack, seekable_copy, moving):
        monkeypatch.setattr(module, "GROUP_BYTES", 200_000)
    monkeypatch.setattr(moving, "_PIECE", 100_000)
    target, given, kills, while_moving = tmp_path / SUBSET, settings(tmp_path, layout=layout, scratch=scratch), 0, 0
    for _ in range(12):
        if extract_until_killed(given, draw.randrange(60 if layout == "files" else 15)):
            break
        kills += 1
        there = [name for name in expected if (target / name).exists()]
        assert all((target / name).read_bytes() == expected[name] for name in there)
        while_moving += any(target.rglob(".aurora-*.partial"))
    assert while_moving >= 1
    assert kills > while_moving or layout == "index"
    result = extract.run(settings(tmp_path, layout=layout, scratch=scratch))
    assert result.exit_code == 0
    root = MediaRoot(target)
    assert all(root.read(name) == content for name, content in expected.items())
    assert not [path for path in target.rglob("*.partial") if path.is_file()]
    assert work_in(scratch) == []
    receipt = json.loads(next(target.glob(".aurora/*/receipt.json")).read_text())
    assert (receipt["members"], receipt["bytes"]) == (100, 2_000_000)


def test_an_archive_that_changed_meanwhile_takes_nothing_of_the_old_one_with_it(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
):
    place(tmp_path, gzip.compress(tar_of(info("old", b"old"))), "a.tar.gz")

    def stops(*_: object, **__: object) -> None:
        raise HostError("stopped")

    with monkeypatch.context() as patched, pytest.raises(HostError, match="stopped"):
        patched.setattr("aurora_cli.data.archives.staging.staged.move", stops)
        extract.run(settings(tmp_path, scratch=scratch))
    place(tmp_path, gzip.compress(tar_of(info("new", b"new"))), "a.tar.gz")
    extract.run(settings(tmp_path, scratch=scratch))
    assert tree(tmp_path / SUBSET) == {"new": b"new"}
    assert work_in(scratch) == []


def test_what_a_run_left_that_was_killed_at_its_very_end_goes_with_the_next(tmp_path: Path, scratch: Path):
    place(tmp_path, gzip.compress(tar_of(*IMAGES)), "a.tar.gz")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("aurora_cli.data.archives.staging.staged.shutil.rmtree", lambda *_, **__: None)
        extract.run(settings(tmp_path, scratch=scratch))
    assert len(work_in(scratch)) == 1
    extract.run(settings(tmp_path, scratch=scratch))
    assert work_in(scratch) == []
