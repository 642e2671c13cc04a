"""The library of a kind of bucket: fsspec finds it, and it is told how patient to be.

Two things fail in passing. A request that is answered by 5xx, or by nobody, is sent again by the library itself, each
part of a large upload by itself: `PATIENCE` says how often. A body that breaks off is nobody's request any more: that
one `objects` asks for again, from the byte where it broke off.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from aurora_cli.errors import DataError
from aurora_cli.hub.patience import Patience
from aurora_cli.io.urls import parts_of, protocol_of
from aurora_cli.storage.errors import shown, storage_errors

PATIENCE = Patience()
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
"""Without a byte: a slow read goes on as long as something comes."""

_S3 = ("s3", "s3a")
_WITH_BUCKETS = (*_S3, "gs", "gcs")


class Client(NamedTuple):
    """A library that has been opened, and a URL as it names it."""

    files: Any
    path: str


def client_of(url: str) -> Client:
    """
    Raises:
        HostError: the library is not installed, or it cannot be opened.
        UsageError: there is none for such URLs.
    """
    from fsspec.config import conf
    from fsspec.core import url_to_fs

    protocol = protocol_of(url)
    with storage_errors(url):
        files, path = url_to_fs(url, **_options(protocol, conf.get(protocol, {})))
        if protocol in _S3:
            files.retries = 1  # botocore tries again, and waits longer where it is asked to slow down
    return Client(files, path)


def check_bucket(url: str) -> None:
    """Find out that a bucket is not there, before hours of work for it. Who may not ask is let through.

    Raises:
        DataError: there is no such bucket.
        HostError: the store cannot be reached, or there are no credentials for it.
    """
    if protocol_of(url) not in _WITH_BUCKETS:
        return
    name = parts_of(url)[1]
    files, _ = client_of(url)
    with storage_errors(url):
        try:
            files.info(name)
        except FileNotFoundError as error:
            raise DataError(f"{shown(url)}: there is no bucket {name}", hint="Is it spelled so, and made?") from error
        except PermissionError:
            return


def check_folder(url: str) -> None:
    """Find out that nothing lies in a folder of objects, before hours of work with it; a request or two, whatever lies
    there. A bucket itself may be empty; who may not ask is let through.

    Raises:
        DataError: there is no such bucket, or no object below the folder, or the URL is an object's.
        HostError: the store cannot be reached, or there are no credentials for it.
    """
    files, path = client_of(url.rstrip("/"))
    with storage_errors(url):
        try:
            kind = files.info(path).get("type")
        except PermissionError:
            return
        except FileNotFoundError:
            kind = None
    if kind is None:
        check_bucket(url)
        raise DataError(f"{shown(url)}: holds no objects", hint="Is the folder spelled so, and was it filled?")
    if kind == "file":
        raise DataError(
            f"{shown(url)}: is an object; the URL of a folder of media, or of an indexed .tar, was expected"
        )


def _options(protocol: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the library is opened with. `given`: the user's own, of fsspec's configuration; it goes before ours."""
    if protocol not in _S3:
        return {}
    ours = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "retries": {"total_max_attempts": 1 + PATIENCE.retries, "mode": "standard"},
    }
    return {
        "config_kwargs": {**ours, **given.get("config_kwargs", {})},
        "use_listings_cache": False,  # others write there too
    }
