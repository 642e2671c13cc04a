"""HTTP of the page."""

import contextlib
import json
import tempfile
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from aurora_cli.errors import AuroraError, DataError
from aurora_cli.pipeline.caption.page import Page, Question, Refused, _kind

HOST = "127.0.0.1"

IDLE_S = 30.0
"""A connection that sends nothing for so long is closed."""

_CHUNK = 1 << 20

_POLICY = (
    "default-src 'none'; img-src blob: data:; media-src blob:; connect-src 'self'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'"
)


def _handler(page: Page) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE_S
        server_version, sys_version = "aurora", ""

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            with self.refusals():
                self.check_caller()
                match self.path.partition("?")[0]:
                    case "/":
                        self.send(200, page.html, "text/html; charset=utf-8")
                    case "/model.json":
                        self.send_json(200, page.facts())
                    case _:
                        raise Refused(404, f"{self.path}: there is no such page")

        def do_POST(self) -> None:
            with self.refusals():
                self.check_caller()
                url = urllib.parse.urlsplit(self.path)
                if url.path != "/caption":
                    raise Refused(404, f"{self.path}: there is no such page")
                question = _question(dict(urllib.parse.parse_qsl(url.query)))
                suffix = Path(question.name).suffix.lower()
                _kind(question.name)
                with tempfile.NamedTemporaryFile(suffix=suffix) as file:
                    self.receive(file)
                    if not page.turn.acquire(blocking=False):
                        raise Refused(503, "another medium is being captioned; try again in a moment")
                    try:
                        page.answer(Path(file.name), question, self.write_line)
                    finally:
                        page.turn.release()

        @contextlib.contextmanager
        def refusals(self) -> Iterator[None]:
            """Whatever goes wrong is said to the page, and ends this request alone."""
            self.begun = False
            self.close_connection = True
            try:
                yield
            except Refused as refused:
                self.refuse(refused.status, refused.reason)
            except AuroraError as error:
                self.refuse(422 if isinstance(error, DataError) else 400, error.message)
            except (ConnectionError, TimeoutError):
                pass
            except Exception as error:  # a bug in one request must not take the page away
                self.refuse(500, f"{type(error).__name__}: {error}")

        def refuse(self, status: int, reason: str) -> None:
            with contextlib.suppress(OSError):
                if self.begun:
                    self.write_line({"error": reason})
                else:
                    self.send_json(status, {"error": reason})

        def check_caller(self) -> None:
            """A page of somebody else, or a name that somebody else points to this machine, gets nothing."""
            port = self.connection.getsockname()[1]
            own = {f"{HOST}:{port}", f"localhost:{port}"}
            origin = self.headers.get("Origin")
            if self.headers.get("Host") not in own or (origin and origin.removeprefix("http://") not in own):
                raise Refused(403, "only this machine's own page may ask")

        def receive(self, file: Any) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit():
                raise Refused(411, "the size of the medium was not said")
            left = int(length)
            if left > page.max_bytes:
                raise Refused(
                    413, f"it has {left:,} bytes; at most {page.max_bytes:,} are taken (--set caption.max_upload_mb)"
                )
            if left == 0:
                raise Refused(400, "it is empty")
            while left:
                chunk = self.rfile.read(min(left, _CHUNK))
                if not chunk:
                    raise ConnectionError("the sender went away")
                file.write(chunk)
                left -= len(chunk)
            file.flush()

        def write_line(self, value: dict[str, Any]) -> None:
            if not self.begun:
                self.begun = True
                self.send_response(200)
                self.send_header("Content-Type", "application/x-ndjson")
                self.end_headers()
            self.wfile.write(json.dumps(value).encode() + b"\n")
            self.wfile.flush()

        def send_json(self, status: int, value: dict[str, Any]) -> None:
            self.send(status, json.dumps(value).encode(), "application/json")

        def send(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", _POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _question(query: dict[str, str]) -> Question:
    try:
        ratio = float(query.get("ratio", "1"))
    except ValueError:
        ratio = 0.0
    if not 0.0 < ratio <= 1.0:
        raise Refused(400, f"ratio: {query.get('ratio')} was said; above 0 and at most 1 was expected")
    return Question(Path(query.get("name", "")).name, ratio, query.get("slowfast") == "1", query.get("prompt", ""))
