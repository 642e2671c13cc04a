"""Objects: what is known of one, its bytes by the piece, what lies in a folder of them, and writing one whole."""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from aurora_cli.errors import DataError
from aurora_cli.hub.errors import TransientError
from aurora_cli.io.urls import protocol_of
from aurora_cli.storage import client
from aurora_cli.storage.client import client_of
from aurora_cli.storage.errors import shown, storage_errors, unanswered

PIECE = 8 << 20
"""Bytes of a request at most, and in memory: what a broken connection costs."""
PART = 16 << 20
"""Bytes of a part of an upload; four are on their way at a time. Larger where 10,000 parts would not do."""
PARTS_AT_A_TIME = 4

_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "blob_id", "xet_hash", "LastModified", "last_modified", "updated")
_VERSIONS += ("mtime", "created")
_FILESYSTEMS = ("sftp", "ssh", "ftp", "smb", "local", "webdav", "hdfs", "arrow_hdfs", "dbfs")
"""Filesystems, where a file is there before all of it is: it is written beside and moved."""


class ObjectStat(NamedTuple):
    """What is known of an object without reading it."""

    size: int
    version: str
    """Another one after a change; empty: the store has none."""


def stat(url: str) -> ObjectStat:
    """
    Raises:
        DataError: there is no such object.
        HostError: the store cannot be reached, or does not let us.
    """
    found = stat_if_there(url)
    if found is None:
        raise DataError(f"{shown(url)}: there is no such object")
    return found


def stat_if_there(url: str) -> ObjectStat | None:
    """The same; none: there is no such object, though there may be a folder of that name.

    Raises:
        DataError: there is no such bucket.
        HostError: as above.
    """
    files, path = client_of(url)
    with storage_errors(url):
        try:
            info = files.info(path)
        except FileNotFoundError:
            return None
    return None if info.get("type") == "directory" else _stat_of(info)


def read_pieces(url: str, start: int, stop: int) -> Iterator[bytes]:
    """The bytes of an object from `start` to `stop`, a request a piece; no others are asked for.

    Raises:
        DataError: it is not there, or ends before.
        HostError: the store cannot be reached, or does not let us.
    """
    files, path = client_of(url)
    while start < stop:
        end = min(start + PIECE, stop)
        piece = _patiently(url, lambda start=start, end=end: files.cat_file(path, start=start, end=end))
        if len(piece) != end - start:
            raise DataError(f"{shown(url)}: ends after {start + len(piece):,} bytes; {stop:,} were expected")
        yield piece
        start = end


def list_objects(url: str) -> dict[str, ObjectStat]:
    """All objects below a folder's URL, by their names from there on, sorted.

    Raises:
        HostError: the store cannot be reached, or does not let us.
    """
    files, path = client_of(url.rstrip("/"))
    with storage_errors(url):
        try:
            found: Mapping[str, Any] = files.find(path, detail=True)
        except FileNotFoundError:
            return {}
    begin = f"{path.rstrip('/')}/"
    below = {name.removeprefix(begin): info for name, info in found.items() if name.startswith(begin)}
    return {name: _stat_of(info) for name, info in sorted(below.items()) if not name.endswith("/")}


def put(file: Path, url: str) -> None:
    """A file as an object, which is whole or absent: a large one goes by parts, and appears with the last.

    Raises:
        HostError: the store cannot be reached, or does not take it.
    """
    files, path = client_of(url)
    with storage_errors(url, writing=True):
        if protocol_of(url) in _FILESYSTEMS:
            folder, _, name = path.rpartition("/")
            files.makedirs(folder, exist_ok=True)
            files.put_file(str(file), f"{folder}/.{name}.partial")
            files.mv(f"{folder}/.{name}.partial", path)
            return
        by_parts = {"chunksize": PART, "max_concurrency": PARTS_AT_A_TIME} if protocol_of(url) in ("s3", "s3a") else {}
        files.put_file(str(file), path, **by_parts)


def remove(url: str) -> None:
    """Remove an object, if it is there.

    Raises:
        HostError: the store cannot be reached, or does not let us.
    """
    files, path = client_of(url)
    with storage_errors(url, writing=True):
        try:
            files.rm_file(path)
        except FileNotFoundError:
            return


def _stat_of(info: Mapping[str, Any]) -> ObjectStat:
    version = next((info[name] for name in _VERSIONS if info.get(name)), "")
    text = str(version.timestamp() if isinstance(version, datetime) else version)  # listings may have the number
    return ObjectStat(int(info.get("size") or 0), text.strip('"'))


def _patiently(url: str, request: Any) -> bytes:
    """What a request gives; where its body breaks off, it is sent again."""
    tries = 0
    while True:
        try:
            with storage_errors(url, retried=True):
                return request()
        except TransientError as error:
            tries += 1
            if tries > client.PATIENCE.retries:
                raise unanswered(url, f"{error} ({tries} tries)") from error
            time.sleep(client.PATIENCE.wait_before(tries, error.retry_after_s))
