"""Media from the network, where the user allows it: one file, of a bounded size, of a kind that is a medium."""

import contextlib
import hashlib
import http.client
import io
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, NamedTuple

from aurora_cli.data.media.animations import is_animation
from aurora_cli.data.media.errors import TooManyBytes
from aurora_cli.data.media.kinds import MediaKind, kind_by_name
from aurora_cli.data.media.listing import Medium
from aurora_cli.data.media.remote.paced import PATIENCE_S, PacedHTTPHandler, PacedHTTPSHandler
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import atomic_write

_CHUNK = 1 << 20
_TYPE = re.compile(r"(image|video)/[\w.+-]+")

_SUFFIXES = {"video/quicktime": ".mov", "video/x-matroska": ".mkv", "video/x-msvideo": ".avi", "image/jpeg": ".jpg"}


class Fetched(NamedTuple):
    """A file from the network, in memory."""

    kind: MediaKind
    suffix: str
    """That decoders go by."""
    content: bytes


def fetch(medium: Medium, folder: Path, max_bytes: int) -> Medium:
    """The medium as a file in `folder`, wherever it lies.

    Raises:
        DataError: the network or the server refuses, it is too large, or it is neither an image nor a video.
        HostError: the bucket that it lies in cannot be reached.
    """
    url = medium.name
    if medium.source is not None:
        path = medium.source.fetch(folder, max_bytes)
        is_video = medium.kind == "video" or is_animation(path, path.name)
        return Medium(medium.name, str(path), "video" if is_video else "image")
    with _opened(url, max_bytes) as (response, kind, suffix):
        path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}{suffix}"
        with atomic_write(path) as file:
            _copy(url, response, file, max_bytes)
    return Medium(url, str(path), "video" if is_animation(path, path.name) else kind)


def fetch_bytes(url: str, max_bytes: int) -> Fetched:
    """The same without a file.

    Raises:
        DataError: as above.
    """
    with _opened(url, max_bytes) as (response, kind, suffix):
        content = io.BytesIO()
        _copy(url, response, content, max_bytes)
    return Fetched(kind, suffix, content.getvalue())


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Leaves the body of a redirect where it is: the library would read all of it, however much, into memory."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        fp.close()
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextlib.contextmanager
def _opened(url: str, max_bytes: int) -> Iterator[tuple[IO[bytes], MediaKind, str]]:
    """What a server answers, whether it is an image or a video, and its suffix.

    Raises:
        DataError: the network or the server refuses, also while it is read, or it says that it is too large.
    """
    opener = urllib.request.OpenerDirector()  # build_opener's would open file: and ftp: as well
    for handler in (
        urllib.request.ProxyHandler(),
        PacedHTTPHandler(),
        PacedHTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "aurora", "Accept": "image/*, video/*"})
        with opener.open(request, timeout=PATIENCE_S) as response:
            kind, suffix = _kind_of(url, response.headers.get_content_type())
            declared = response.headers.get("Content-Length", "")
            if declared.isdigit() and int(declared) > max_bytes:
                raise TooManyBytes(url, f"{int(declared):,} bytes", max_bytes)
            yield response, kind, suffix
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer as well, and holds the connection for as long as anybody holds the error
        raise DataError(f"{url}: cannot be fetched: {error or type(error).__name__}") from error


def _copy(url: str, response: IO[bytes], file: IO[bytes], max_bytes: int) -> None:
    size = 0
    while chunk := response.read(_CHUNK):
        size += len(chunk)
        if size > max_bytes:
            raise TooManyBytes(url, "more", max_bytes)
        file.write(chunk)


def _kind_of(url: str, content_type: str) -> tuple[MediaKind, str]:
    """image or video, and the suffix that decoders go by: as the server says, else as the name does."""
    path = Path(urllib.request.url2pathname(url.partition("?")[0].partition("#")[0]))
    suffix, by_name = path.suffix.lower(), kind_by_name(path)
    if match := _TYPE.fullmatch(content_type):
        kind = "image" if match[1] == "image" else "video"
        guessed = _SUFFIXES.get(content_type, "." + content_type.partition("/")[2])
        return kind, suffix if by_name == kind else guessed
    if content_type == "application/octet-stream" and by_name is not None:
        return by_name, suffix
    raise DataError(f"{url}: is {content_type}; an image or a video was expected")
