"""Outputs that one process holds at a time, also on a filesystem that several machines share.

A lock is a file that appears by `link`, which NFS does for one of many machines, and says whose it is. Its holder
touches it, and keeps a flock on it for the processes of its own machine. What a process left that is over is taken; a
lock of another machine is not, however old: its hint says what to type.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aurora_cli.errors import UsageError
from aurora_cli.io import lock_claim
from aurora_cli.io.atomic import path_errors
from aurora_cli.io.lock_claim import Claim, claim_of_this_process, is_flocked, read_claim

LOCK_FILE = ".lock"
_WAIT_S = 0.02
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


@contextlib.contextmanager
def file_lock(folder: Path, purpose: str) -> Iterator[None]:
    """Hold `folder` alone.

    Raises:
        UsageError: another process holds it; the message says which.
    """
    with path_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / LOCK_FILE, folder, purpose, wait=False):
        yield


@contextlib.contextmanager
def lock_output(path: Path, purpose: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the name `path` alone, of a file or a folder that is replaced. The lock lies beside it.

    `wait`: for the other process that holds it, where all of them hold it briefly.

    Raises:
        UsageError: another process holds it; the message says which.
    """
    with path_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _held(path.with_name(f".{path.name}{LOCK_FILE}"), path, purpose, wait=wait):
        yield


@contextlib.contextmanager
def _held(lock: Path, what: Path, purpose: str, *, wait: bool) -> Iterator[None]:
    with path_errors(what):
        _take(lock, what, claim_of_this_process(purpose, secrets.token_hex(8)), wait=wait)
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # a filesystem without: the claim says which process it is
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(descriptor, ended), name="lock", daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        own = os.fstat(descriptor)
        os.close(descriptor)  # first: NFS keeps a file that is removed while it is open, under another name
        with contextlib.suppress(OSError):
            if os.path.samestat(own, lock.stat()):
                lock.unlink()


def _beat(descriptor: int, ended: threading.Event) -> None:
    while not ended.wait(lock_claim.BEAT_S):
        with contextlib.suppress(OSError):
            os.utime(descriptor)


class _Found(NamedTuple):
    """A lock that was in the way."""

    content: str
    inode: int
    untouched_s: float
    """By the filesystem's clock."""


def _take(lock: Path, what: Path, claim: Claim, *, wait: bool) -> None:
    """Make `lock`, with what `claim` says in it.

    Raises:
        UsageError: it is another's.
    """
    while True:
        if (found := _make(lock, claim)) is None:
            return
        other = read_claim(found.content)
        if other is None and not found.content and found.untouched_s < lock_claim.SETTLED_S:
            time.sleep(_WAIT_S)
            continue
        if other.is_over(lock, found.untouched_s) if other else not is_flocked(lock):
            _remove_left_over(lock, what, claim, found)
        elif wait and found.untouched_s < lock_claim.STALE_S:
            time.sleep(_WAIT_S)
        else:
            raise _refusal(lock, what, found, other)


def _make(lock: Path, claim: Claim) -> _Found | None:
    """None: it is made. It is never half made: link makes a name of a whole file, or fails."""
    own = lock.with_name(f"{lock.name}.{claim.token}")
    try:
        own.write_text(json.dumps(claim.to_json()))
        try:
            os.link(own, lock)
        except FileExistsError:
            if own.stat().st_nlink == 2:  # NFS had done it, and the answer was lost
                return None
            return _look(lock, own)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _make_without_link(lock, own)
    finally:
        own.unlink(missing_ok=True)
    return None


def _make_without_link(lock: Path, own: Path) -> _Found | None:
    try:
        with open(lock, "x") as file:
            file.write(own.read_text())
    except FileExistsError:
        return _look(lock, own)
    return None


def _look(lock: Path, own: Path) -> _Found:
    try:
        with open(lock) as file:
            status = os.fstat(file.fileno())
            return _Found(file.read(), status.st_ino, own.stat().st_mtime - status.st_mtime)
    except FileNotFoundError:  # it was given back in this moment
        return _Found("", 0, 0.0)


def _remove_left_over(lock: Path, what: Path, claim: Claim, found: _Found) -> None:
    """Only one of those who found it removes it, and only while it is what they found."""
    removing = lock.with_name(f"{lock.name}.over")
    with _held(removing, what, claim.purpose, wait=True), contextlib.suppress(FileNotFoundError):
        if lock.stat().st_ino == found.inode and lock.read_text() == found.content:
            lock.unlink()


def _refusal(lock: Path, what: Path, found: _Found, other: Claim | None) -> UsageError:
    holder = "another process" if other is None else str(other)
    if found.untouched_s < lock_claim.STALE_S:
        return UsageError(f"{what}: is being written by {holder}", hint="Wait for it, or stop it.")
    return UsageError(
        f"{what}: is held by {holder}, which has not been heard of for {found.untouched_s / 60:.0f} minutes",
        hint=f"If that process is gone: rm {lock}",
    )
