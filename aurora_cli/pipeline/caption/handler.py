"""HTTP of the page, written by hand on the standard library.

Why by hand: the page is local and single. One person on this machine captions one medium at a time, and four routes,
one of them a form, need no framework and no further dependency. An API for several users over the network is another
thing: it would take starlette and uvicorn.
"""

import contextlib
import json
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

from aurora_cli.errors import AuroraError, DataError
from aurora_cli.pipeline.caption.page import DECODING, Page, Question, RequestRefused, kind_of_name
from aurora_cli.pipeline.caption.request import HOST

IDLE_S = 30.0
"""A connection that sends nothing for so long is closed."""

_CHUNK_BYTES = 1 << 20

_POLICY = (
    "default-src 'none'; img-src blob: data:; media-src blob:; connect-src 'self'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'"
)


class PageServer(ThreadingHTTPServer):
    """Serves one page on this machine."""

    daemon_threads = True

    def __init__(self, page: Page, port: int) -> None:
        """
        Raises:
            OSError, OverflowError: the port is taken, or is none.
        """
        super().__init__((HOST, port), PageHandler)
        self.page = page


class PageHandler(BaseHTTPRequestHandler):
    """One request to the page."""

    server: PageServer  # pyright: ignore[reportIncompatibleVariableOverride] - no other server makes one
    timeout = IDLE_S
    server_version, sys_version = "aurora", ""
    answering = False
    """The first line of an answer has been sent: what goes wrong now is one more line."""

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""

    def do_GET(self) -> None:
        with self._refusals():
            self._check_caller()
            match self.path.partition("?")[0]:
                case "/":
                    self._send(200, self.server.page.html, "text/html; charset=utf-8")
                case "/model.json":
                    self._send_json(200, self.server.page.facts())
                case _:
                    raise RequestRefused(404, f"{self.path}: there is no such page")

    def do_POST(self) -> None:
        with self._refusals():
            self._check_caller()
            url = urllib.parse.urlsplit(self.path)
            if url.path != "/caption":
                raise RequestRefused(404, f"{self.path}: there is no such page")
            question = _question(dict(urllib.parse.parse_qsl(url.query)))
            kind_of_name(question.name)  # refused before its bytes are taken
            page = self.server.page
            with tempfile.NamedTemporaryFile(suffix=Path(question.name).suffix.lower()) as file:
                self._receive(file, page.max_bytes)
                if not page.turn.acquire(blocking=False):
                    raise RequestRefused(503, "another medium is being captioned; try again in a moment")
                try:
                    page.answer(Path(file.name), question, self._write_line)
                finally:
                    page.turn.release()

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Whatever goes wrong is shown on the page, and ends this request alone."""
        self.close_connection = True
        try:
            yield
        except RequestRefused as refused:
            self._refuse(refused.status, refused.reason)
        except AuroraError as error:
            self._refuse(422 if isinstance(error, DataError) else 400, error.message)
        except (ConnectionError, TimeoutError):
            pass
        except Exception as error:  # a bug in one request must not take the page away
            self._refuse(500, f"{type(error).__name__}: {error}")

    def _refuse(self, status: int, reason: str) -> None:
        with contextlib.suppress(OSError):
            if self.answering:
                self._write_line({"error": reason})
            else:
                self._send_json(status, {"error": reason})

    def _check_caller(self) -> None:
        """A page of somebody else, or a name that somebody else points to this machine, gets nothing."""
        port = self.connection.getsockname()[1]
        own = {f"{HOST}:{port}", f"localhost:{port}"}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") not in own or (origin and origin.removeprefix("http://") not in own):
            raise RequestRefused(403, "only this machine's own page may ask")

    def _receive(self, file: IO[bytes], max_bytes: int) -> None:
        """Copy the body into `file`."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            raise RequestRefused(411, "the request does not give the size of the medium")
        left = int(length)
        if left > max_bytes:
            reason = f"it has {left:,} bytes; at most {max_bytes:,} are taken (--set caption.max_upload_mb)"
            raise RequestRefused(413, reason)
        if left == 0:
            raise RequestRefused(400, "it is empty")
        while left:
            chunk = self.rfile.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise ConnectionError("the sender went away")
            file.write(chunk)
            left -= len(chunk)
        file.flush()

    def _write_line(self, value: Mapping[str, object]) -> None:
        if not self.answering:
            self.answering = True
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.end_headers()
        self.wfile.write(json.dumps(value).encode() + b"\n")
        self.wfile.flush()

    def _send_json(self, status: int, value: Mapping[str, object]) -> None:
        self._send(status, json.dumps(value).encode(), "application/json")

    def _send(self, status: int, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)


def _question(query: Mapping[str, str]) -> Question:
    """
    Raises:
        RequestRefused: the kept ratio, or another number, is none.
    """
    try:
        ratio = float(query.get("ratio", "1"))
    except ValueError:
        ratio = 0.0
    if not 0.0 < ratio <= 1.0:
        raise RequestRefused(400, f"ratio: {query.get('ratio')}; above 0 and at most 1 was expected")
    name, slowfast = Path(query.get("name", "")).name, query.get("slowfast") == "1"
    return Question(name, ratio, slowfast, query.get("prompt", ""), tuple(_decoding(query)))


def _decoding(query: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name, read in DECODING.items():
        if text := query.get(name):
            try:
                yield name, read(text)
            except ValueError as error:
                raise RequestRefused(400, f"{name}: {text}; a number was expected") from error
