"""`merge-tars` and `extract` when the disk is full, when they are killed, and when the archive is large."""

import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.data.archives import journal, policy, safe_folder, unpack
from aurora_cli.data.archives.finding.parts import Archive, find_archives
from aurora_cli.data.archives.journal import ExtractionState
from aurora_cli.data.archives.receipt import Progress
from aurora_cli.data.media.kinds import frames_among
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.errors import HostError
from aurora_cli.pipeline import merge_tars
from aurora_cli.pipeline.extract import command as extract
from tests.archiving import (
    COMPRESSIONS,
    END,
    FILES,
    IMAGES,
    SUBSET,
    header,
    info,
    peak_of,
    place,
    settings,
    tar_of,
    tree,
)

# --- a full disk


def test_a_full_disk_ends_the_run_and_space_lets_it_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unpack, "GROUP_BYTES", 20_000)
    place(tmp_path, tar_of(*IMAGES))
    real: Callable = safe_folder.FolderWriter.write_file
    written: list[str] = []

    def full(self: safe_folder.FolderWriter, steps: list[str], *rest: object, **options: object) -> None:
        written.append(steps[-1])
        if len(written) == 30:
            raise OSError(28, "No space left on device")
        real(self, steps, *rest, **options)

    monkeypatch.setattr(safe_folder.FolderWriter, "write_file", full)
    with pytest.raises(HostError, match="the disk is full"):
        extract.run(settings(tmp_path))
    first = len(written)
    extract.run(settings(tmp_path))
    assert tree(tmp_path / SUBSET) == FILES
    assert len(written) - first <= 40 - 29 + 7, "more than a group was written again"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A disk of its own, to be made larger by another call."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def resize(kilobytes: int) -> Path:
        remount = "remount," if os.path.ismount(disk) else ""
        options = f"{remount}size={kilobytes}k"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True)
        if done.returncode != 0:
            pytest.skip("this machine lets nobody mount a tmpfs")
        return disk

    yield resize
    if os.path.ismount(disk):
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [40, 100, 400, 1_100, 1_900, 1_990])
@pytest.mark.parametrize("layout", ["files", "index"])
def test_a_disk_that_really_fills_up_is_exit_4_and_continues_when_it_has_grown(
    tmp_path: Path, small_disk: Callable[[int], Path], layout: str, kilobytes: int
):
    images = [info(f"images/{n}.jpg", random.Random(n).randbytes(20_000)) for n in range(100)]
    archive = place(tmp_path, gzip.compress(tar_of(*images), 1), "a.tar.gz")
    given = settings(tmp_path, inputs=[archive], output=small_disk(kilobytes) / "out", layout=layout)
    with pytest.raises(HostError, match="the disk is full"):
        extract.run(given)
    small_disk(20_000)
    assert extract.run(given).exit_code == 0
    root = MediaRoot(tmp_path / "disk/out")
    assert all(root.read(member.name) == content for member, content in images)


def test_a_disk_that_fills_up_while_merging_is_exit_4_and_continues_when_it_has_grown(
    small_disk: Callable[[int], Path],
):
    content, data = random.Random(0).randbytes(1 << 20), small_disk(1_500) / "data"
    data.mkdir()
    for number in range(4):
        (data / f"a.tar.part_{number}").write_bytes(content[number << 18 : (number + 1) << 18])
    given = Settings(workspace=data.parent)
    with pytest.raises(HostError, match="the disk is full"):
        merge_tars.run(given)
    assert not (data / "a.tar").exists()
    small_disk(5_000)
    merge_tars.run(given)
    assert (data / "a.tar").read_bytes() == content


# --- kill -9


STEPS = {
    "merge-tars": "merge_tars.run(Settings(workspace=workspace))",
    "extract files": "extract.run(Settings(workspace=workspace))",
    "extract index": "extract.run(Settings(workspace=workspace, extract=ExtractSettings(layout='index')))",
}
CODE = """
import sys; from pathlib import Path
from aurora_cli.config.settings import *
from aurora_cli.data.archives import join_parts, seekable_copy, unpack
from aurora_cli.pipeline import merge_tars
from aurora_cli.pipeline.extract import command as extract
workspace = Path(sys.argv[1])
unpack.GROUP_BYTES = seekable_copy.GROUP_BYTES = int(sys.argv[2])
join_parts._COPY_BYTES = int(sys.argv[2])
print("ready", flush=True)
{step}
print("done", flush=True)
sys.stdin.readline()
"""


def written_by(process: int) -> int:
    """Bytes that a process handed to the system to write, those that the kernel copied for it included."""
    lines = Path(f"/proc/{process}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def killed_after(step: str, workspace: Path, group_bytes: int, seconds: float | None) -> tuple[int, bool]:
    """Start a step, stop it for ever after a moment or, without, at its end; the bytes that it wrote, and whether
    it had ended."""
    command = [sys.executable, "-c", CODE.format(step=STEPS[step]), str(workspace), str(group_bytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = written_by(process.pid)
        if seconds is None:
            assert process.stdout.readline() == b"done\n"
            written = written_by(process.pid) - before
            process.communicate(b"\n")
            return written, True
        time.sleep(seconds)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        written = written_by(process.pid) - before
        process.send_signal(signal.SIGKILL)
        return written, b"done" in process.stdout.read()


def durable_files(target: Path, archive: str, names: list[str]) -> dict[str, int]:
    """The inodes of the members of which the journal says that they are on disk."""
    path = target / f".aurora/{archive}/journal.jsonl"
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().split("\n")[1:-1]]
    members = lines[-1]["members"] if lines else 0
    return {name: (target / name).stat().st_ino for name in names[:members]}


def as_zip(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for member, content in members:
            file.writestr(member.name, content)
    return raw.getvalue()


PACKED: dict[str, Callable[[list[tuple[tarfile.TarInfo, bytes]]], bytes]] = {
    "a.tar.gz": lambda members: gzip.compress(tar_of(*members), 1),
    "a.tar.zst": lambda members: COMPRESSIONS["zst"](tar_of(*members)),
    "a.zip": as_zip,
}


def kill_campaign(
    tmp_path: Path, step: str, kills: int, *, megabytes: int, group_bytes: int, within_s: float, name: str = "a.tar.gz"
) -> None:
    """kill -9 at random moments until there were enough; every kill costs a group at most, and nothing durable."""
    draw, count = random.Random(f"{step} {kills} {group_bytes}"), megabytes * 50
    images = [info(f"images/{n:05}.jpg", draw.randbytes(20_000)) for n in range(count)]
    names, packed = [member.name for member, _ in images], PACKED[name](images)
    expected = {member.name: content for member, content in images}
    most = len(packed) if step == "merge-tars" else sum(map(len, expected.values())) + count * 1_024
    done = 0
    for repetition in range(kills):
        workspace = tmp_path / f"{repetition}"
        for part in range(8):
            begin, end = len(packed) * part // 8, len(packed) * (part + 1) // 8
            place(workspace, packed[begin:end], f"{name}.part_{part:03}")
        target, written, here, ended = workspace / SUBSET, 0, 0, False
        durable: dict[str, int] = {}
        while done < kills and here < 8 and not ended:
            amount, ended = killed_after(step, workspace, group_bytes, draw.uniform(0, within_s))
            written, done, here = written + amount, done + 1, here + 1
            if step == "extract files":
                there = [member for member in names if (target / member).exists()]
                assert all((target / member).read_bytes() == expected[member] for member in there)
            if step == "extract files":
                assert all((target / member).stat().st_ino == inode for member, inode in durable.items())
                durable = durable_files(target, name, names)
        amount, _ = killed_after(step, workspace, group_bytes, None)
        if step == "merge-tars":
            assert (target / name).read_bytes() == packed
        else:
            root = MediaRoot(target)
            assert all(root.read(member) == content for member, content in expected.items())
        lost, cost = written + amount - most, min(group_bytes + (1 << 20), 64_000_000)
        assert lost <= here * cost, f"{lost:,} bytes were written again after {here} kills"
        if done >= kills:
            return


KILLED_WHILE_WRITING = """
import os, sys; from pathlib import Path
from aurora_cli.config.settings import *
from aurora_cli.pipeline.extract import command as extract
real, left = os.write, int(sys.argv[2])
def write(file, content):
    global left
    count = real(file, content[:left]) if len(content) > 1000 else real(file, content)
    left -= count if len(content) > 1000 else 0
    if left <= 0:
        os.kill(os.getpid(), 9)
    return count
os.write = write
extract.run(Settings(workspace=Path(sys.argv[1]), extract=ExtractSettings(sync=False)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("written", [1, 70_000, 199_999])
def test_a_member_that_a_kill_cut_has_not_its_name_and_the_next_run_leaves_nothing_of_it(tmp_path: Path, written: int):
    before, content = random.Random(1).randbytes(100_000), random.Random(2).randbytes(200_000)
    place(tmp_path, tar_of(info("images/0.jpg", before), info("images/1.jpg", content), info("images/2.jpg", b"2")))
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path), str(len(before) + written)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    target = tmp_path / SUBSET
    root = MediaRoot(target)
    assert (target / "images/0.jpg").read_bytes() == before
    assert [root.locate(f"images/{number}.jpg") for number in (1, 2)] == [None, None]
    assert frames_among(root.files_in("images") or []) == ["0.jpg"]
    (partial,) = (file for file in (target / "images").iterdir() if file.name != "0.jpg")
    assert partial.stat().st_size == written, "it was killed at another moment"
    extract.run(settings(tmp_path))
    assert {file.name for file in (target / "images").iterdir()} == {"0.jpg", "1.jpg", "2.jpg"}
    assert (target / "images/1.jpg").read_bytes() == content


def test_two_archives_in_one_folder_do_not_share_the_name_of_what_is_being_written(tmp_path: Path):
    names = {ExtractionState(Archive(tmp_path / name, ()), tmp_path).partial_name for name in ("a.tar", "b.tar")}
    assert len(names) == 2
    assert all(policy.PARTIAL_NAME.fullmatch(name) for name in names)


def test_a_kill_between_the_index_and_its_receipt_writes_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place(tmp_path, gzip.compress(tar_of(*IMAGES)), "a.tar.gz")
    target, finish = tmp_path / SUBSET, ExtractionState.finish

    def killed(self: ExtractionState, *_: object, **__: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(ExtractionState, "finish", killed)
    with pytest.raises(RuntimeError):
        extract.run(settings(tmp_path, layout="index"))
    inode = (target / "a.tar").stat().st_ino
    monkeypatch.setattr(ExtractionState, "finish", finish)
    extract.run(settings(tmp_path, layout="index"))
    assert (target / "a.tar").stat().st_ino == inode
    root = MediaRoot(target)
    assert all(root.read(name) == content for name, content in FILES.items() if content is not None)


def test_a_kill_right_before_the_receipt_writes_nothing_again(tmp_path: Path):
    place(tmp_path, gzip.compress(tar_of(*IMAGES)), "a.tar.gz")
    names = [member.name for member, _ in IMAGES]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="killed"):
        patch.setattr(journal, "write_text", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        (archive,) = find_archives([tmp_path / SUBSET])
        unpack.unpack(
            archive, tmp_path / SUBSET, settings=settings(tmp_path, sync=True).extract, advance=lambda *_: None
        )
    inodes = [(tmp_path / SUBSET / name).stat().st_ino for name in names]
    assert extract.run(settings(tmp_path, sync=True)).exit_code == 0
    assert [(tmp_path / SUBSET / name).stat().st_ino for name in names] == inodes


def test_a_kill_while_the_journal_is_opened_loses_nothing_of_it(tmp_path: Path):
    place(tmp_path, tar_of(*IMAGES))
    (archive,) = find_archives([tmp_path / SUBSET])
    state = ExtractionState(archive, tmp_path)
    state.folder.mkdir(parents=True)
    with state.journal("an archive", "files", Progress(), sync=True) as opened:
        opened.group_is_done(offset=512, members=1, size=9, rejected=0)
    opening = state.journal("an archive", "files", state.progress("an archive", "files"), sync=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"), opening:
            pass
    assert state.progress("an archive", "files").offset == 512


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_step_continues_and_writes_little_again(tmp_path: Path, step: str):
    kill_campaign(tmp_path, step, 3, megabytes=12, group_bytes=1 << 20, within_s=0.3)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "name"), [("extract files", "a.zip"), ("extract index", "a.tar.zst")])
def test_a_killed_step_continues_whatever_the_archive_is(tmp_path: Path, step: str, name: str):
    kill_campaign(tmp_path, step, 1, megabytes=8, group_bytes=1 << 20, within_s=0.3, name=name)


@pytest.mark.soak
@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_killed_at_forty_moments_continues_and_writes_little_again(tmp_path: Path, step: str, name: str):
    kill_campaign(tmp_path, step, 40, megabytes=40, group_bytes=1 << 20, within_s=0.6, name=name)


@pytest.mark.soak
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_costs_less_than_64_megabytes(tmp_path: Path, step: str):
    kill_campaign(tmp_path, step, 4, megabytes=300, group_bytes=unpack.GROUP_BYTES, within_s=2.0)


# --- memory


@pytest.mark.soak
@pytest.mark.parametrize("layout", ["files", "index"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_memory_does_not_grow_with_the_archive(tmp_path: Path, layout: str, packed: bool):
    big = tmp_path / SUBSET / ("a.tar.gz" if packed else "a.tar")
    big.parent.mkdir(parents=True)
    zeros = bytes(64 << 20)
    with gzip.open(big, "wb", compresslevel=1) if packed else open(big, "wb") as file:
        file.write(header(b"big", size=b"%011o\0" % (4 << 30)))
        for _ in range(64):
            file.write(zeros) if packed else file.seek(len(zeros), os.SEEK_CUR)
        file.write(END)
    code = (
        "import sys; from pathlib import Path; from aurora_cli.config.settings import *; "
        "from aurora_cli.pipeline.extract import command as extract; "
        "extract.run(Settings(workspace=Path(sys.argv[1]), extract=ExtractSettings(layout=sys.argv[2])))"
    )
    peak = peak_of(code, str(tmp_path), layout)
    print(f"{peak:,} kB")
    assert peak < 250_000
