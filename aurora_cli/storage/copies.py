"""Objects and folders of them as files of this machine, in a cache.

A copy lies under a name made of its URL and version: it is whole, and never changes. What was not fetched to its end
goes on where it was. The cache may be removed at any time.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from aurora_cli.console import SILENT, Advance, Reporter
from aurora_cli.errors import AuroraError, DataError, DiskError
from aurora_cli.io.atomic import disk_errors, fsync_file, fsync_folder, path_errors
from aurora_cli.io.locks import lock_output
from aurora_cli.io.urls import join, name_of
from aurora_cli.storage.errors import shown
from aurora_cli.storage.objects import ObjectStat, list_objects, read_pieces, stat

PARTIAL = ".partial"


@contextlib.contextmanager
def naming_urls(urls: Mapping[Path, str]) -> Iterator[None]:
    """Errors of this block name objects as the user does, and not the files here that stand for them.

    But for those of this machine's disk: there it is the file that matters.
    """
    try:
        yield
    except DiskError:
        raise
    except AuroraError as error:
        for file, url in urls.items():
            error.message = error.message.replace(str(file), shown(url))
            error.hint = None if error.hint is None else error.hint.replace(str(file), shown(url))
        raise


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "aurora"


def local_copy(url: str, reporter: Reporter = SILENT) -> Path:
    """An object as a file with its name.

    Raises:
        DataError: there is no such object, or it changes while it is read.
        HostError: the store cannot be reached, or the disk is full.
    """
    known = stat(url)
    path = cache_folder() / "objects" / _hash(shown(url)) / _hash(known.version, known.size) / name_of(url)
    if not path.is_file():
        with lock_output(path, "a copy of an object", wait=True):
            if not path.is_file():
                with reporter.progress(f"fetching {name_of(url)}", known.size, "bytes") as advance:
                    fetch(url, known, path, advance)
    return path


def local_folder(url: str, names: Iterable[str] | None = None, reporter: Reporter = SILENT) -> Path:
    """A folder of objects, or those of the `names`, as a folder with its name; it appears when all of it is here.

    Raises:
        DataError: there are no such objects, or they change while they are read.
        HostError: the store cannot be reached, or the disk is full.
    """
    found = list_objects(url)
    wanted = {*found} if names is None else {*names}
    found = {name: known for name, known in found.items() if name in wanted}
    if not found:
        raise DataError(f"{shown(url)}: there are no objects below it")
    versions = [(name, *known) for name, known in found.items()]
    whole = cache_folder() / "folders" / _hash(shown(url)) / _hash(*versions) / name_of(url)
    if not whole.is_dir():
        with lock_output(whole, "a copy of objects", wait=True):
            if not whole.is_dir():
                _fetch_folder(url, found, whole, reporter)
    return whole


def _fetch_folder(url: str, found: dict[str, ObjectStat], whole: Path, reporter: Reporter) -> None:
    partial = whole.with_name(f".{whole.name}{PARTIAL}")
    with reporter.progress(f"fetching {shown(url)}", sum(known.size for known in found.values()), "bytes") as advance:
        for name, known in found.items():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise DataError(f"{shown(url)}: has an object called {name}, which would be no file below a folder")
            path = partial / name
            if path.is_file() and path.stat().st_size == known.size:
                advance(known.size)
            else:
                fetch(join(url, name), known, path, advance)
    partial.replace(whole)
    fsync_folder(whole.parent)


def fetch(url: str, known: ObjectStat, path: Path, advance: Advance = lambda amount: None) -> None:
    """Bring an object of which `known` is known to `path`, from where an earlier call left it.

    Raises:
        DataError: it is not there, or changes while it is read.
        HostError: the store cannot be reached, or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{_hash(known.version, known.size)}{PARTIAL}")
    with path_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(path), open(partial, "ab") as file:
        done = file.tell()
        advance(done)
        for piece in read_pieces(url, done, known.size):
            file.write(piece)
            file.flush()  # what has come stays, whatever ends this process
            advance(len(piece))
    if stat(url) != known:
        partial.unlink()
        raise DataError(f"{shown(url)}: was changed while it was read", hint="Run the same command again.")
    fsync_file(partial)
    partial.replace(path)
    fsync_folder(path.parent)


def _hash(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
