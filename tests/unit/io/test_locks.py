"""Locks, of processes of one machine and of machines that share a filesystem and nothing else."""

import errno
import json
import os
import signal
import socket
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from aurora_cli.errors import UsageError
from aurora_cli.io import lock_claim, locks
from aurora_cli.io.lock_claim import Claim, claim_of_this_process
from aurora_cli.io.locks import file_lock, lock_output
from tests.preloaded import ORDINARY

GONE = 2**22 + 1
"""No process has a number above 2 ** 22."""


@pytest.fixture(params=["flock", "no flock", "each host its own flock"])
def flocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What filesystems do with flock. The last, as some mounts of NFS do: everybody gets it."""

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if request.param != "flock":
        fake = unsupported if request.param == "no flock" else lambda *_: None
        for module in (locks, lock_claim):
            monkeypatch.setattr(module.fcntl, "flock", fake)
    return request.param


def left(lock: Path, *, untouched_s: float = 0.0, **changes: object) -> None:
    """A lock as another process left it."""
    claim = claim_of_this_process("aurora tokenize", "0123").model_copy(update=changes)
    lock.write_text(json.dumps(claim.to_json()))
    os.utime(lock, (time.time() - untouched_s,) * 2)


@pytest.mark.usefixtures("flocks")
def test_a_lock_says_whose_it_is_and_since_when_and_goes(tmp_path: Path) -> None:
    with file_lock(tmp_path / "out", "aurora tokenize"):
        claim = Claim.read(tmp_path / "out" / ".lock")
        assert (claim.purpose, claim.process) == ("aurora tokenize", os.getpid())
        assert abs(datetime.fromisoformat(f"{claim.since}+00:00").timestamp() - time.time()) < 60
        who = f"process {os.getpid()} on {socket.gethostname()} since {claim.since} UTC"
        expected = rf"out: is being written by aurora tokenize \({who}\)"
        with pytest.raises(UsageError, match=expected), file_lock(tmp_path / "out", "aurora merge-shards"):
            pytest.fail("two hold it")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.usefixtures("flocks")
@pytest.mark.parametrize(
    "dead",
    [
        {"process": GONE},
        {"started": 1},  # the number was given to a later process
        {"namespace": 1, "process": 1, "untouched_s": 2.0},  # of a container on this machine
        {"boot": "before", "untouched_s": 1e9},  # this machine was started again
    ],
)
def test_what_a_process_left_that_is_over_is_taken(dead: dict[str, object], tmp_path: Path) -> None:
    left(tmp_path / ".lock", **dead)
    with file_lock(tmp_path, "aurora merge-shards"):
        assert Claim.read(tmp_path / ".lock").process == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("flocks")
def test_another_hosts_lock_that_it_touches_says_to_wait(tmp_path: Path) -> None:
    left(tmp_path / ".lock", boot="another", host="gpu7", process=12, untouched_s=60)
    with pytest.raises(UsageError, match=r"by aurora tokenize \(process 12 on gpu7 since ") as caught:
        file_lock(tmp_path, "aurora tokenize").__enter__()
    assert caught.value.hint == "Wait for it, or stop it."


@pytest.mark.usefixtures("flocks")
def test_another_hosts_lock_that_it_touches_no_more_is_not_taken_but_says_what_to_type(tmp_path: Path) -> None:
    lock = tmp_path / ".captions.jsonl.lock"
    left(lock, boot="another", host="gpu7", process=12, untouched_s=60 * 60)
    for wait in (False, True):
        with pytest.raises(UsageError, match=r"12 on gpu7 since .* not been heard of for 60 minutes") as caught:
            lock_output(tmp_path / "captions.jsonl", "aurora caption", wait=wait).__enter__()
    assert caught.value.exit_code == 2
    assert caught.value.hint is not None
    subprocess.run(caught.value.hint.removeprefix("If that process is gone: "), shell=True, check=True)
    with lock_output(tmp_path / "captions.jsonl", "aurora caption"):
        pass


def test_a_job_that_slurm_starts_again_elsewhere_takes_its_own_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    left(tmp_path / ".lock", boot="another", host="gpu7", job="4712")
    with pytest.raises(UsageError, match="gpu7"), file_lock(tmp_path, "aurora train"):
        pytest.fail("another job's")
    left(tmp_path / ".lock", boot="another", host="gpu7", job="4711", restarts=0)
    with file_lock(tmp_path, "aurora train"):
        assert Claim.read(tmp_path / ".lock").restarts == 1


def test_a_holder_touches_its_lock_and_never_anothers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_claim, "BEAT_S", 0.01)
    lock = tmp_path / ".lock"
    with file_lock(tmp_path, "aurora train"):
        os.utime(lock, (0, 0))
        deadline = time.monotonic() + 10
        while lock.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock.stat().st_mtime > 0
        lock.unlink()  # somebody typed the rm of the hint
        left(lock, boot="another", host="gpu7", untouched_s=99)
        before = lock.stat().st_mtime
        time.sleep(0.05)
        assert lock.stat().st_mtime == before
    assert Claim.read(lock).host == "gpu7"


@pytest.mark.parametrize("content", ["", "aurora tokenize (process 12)", '{"schema": 9}'])
def test_what_earlier_versions_left_is_taken_if_no_process_has_a_flock_on_it(content: str, tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.write_text(content)
    os.utime(lock, (1, 1))
    with open(lock) as file:
        locks.fcntl.flock(file, locks.fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process"), file_lock(tmp_path, "aurora tokenize"):
            pytest.fail("an older aurora holds it")
    with file_lock(tmp_path, "aurora tokenize"):
        pass


def without_links(own: Path, lock: Path) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def answer_lost(own: Path, lock: Path, link=os.link) -> None:
    link(own, lock)
    raise FileExistsError


@pytest.fixture(params=[None, without_links, answer_lost])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem with hard links, one without, and one whose server did it but was not heard."""
    if request.param is not None:
        monkeypatch.setattr(locks.os, "link", request.param)


@pytest.mark.usefixtures("flocks", "links")
def test_of_many_that_find_a_left_over_lock_one_at_a_time_holds_it(tmp_path: Path) -> None:
    output, inside, most = tmp_path / "captions.jsonl", [], []

    def work() -> None:
        for _ in range(5):
            with lock_output(output, "aurora caption", wait=True):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()
                if len(most) % 4 == 0:  # as if a process had been killed in it
                    (tmp_path / ".captions.jsonl.lock").unlink()
                    left(tmp_path / ".captions.jsonl.lock", process=GONE)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 20
    assert set(most) == {1}


@pytest.mark.slow
def test_a_killed_holder_is_named_while_it_lives_and_followed_when_it_does_not(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from aurora_cli.io.locks import file_lock\n"
        f"with file_lock(pathlib.Path({str(tmp_path)!r}), 'aurora tokenize'):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen([ORDINARY, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=rf"aurora tokenize \(process {holder.pid} on "):
            file_lock(tmp_path, "aurora tokenize").__enter__()
        holder.send_signal(signal.SIGKILL)
    with file_lock(tmp_path, "aurora tokenize"):
        pass
