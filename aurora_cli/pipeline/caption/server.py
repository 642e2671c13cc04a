"""`aurora caption --serve`: a page on this machine where a picture or clip is dropped and captioned.

    GET  /             the page
    GET  /model.json   what the page says of the model: its name, tokens of a frame by kept ratio
    POST /caption      the medium as the body, name, ratio, slowfast and prompt in the query; lines of JSON come back:
                       {"say": piece of the caption} as it is made, then {"done": ...} or {"error": ...}

Only this machine reaches it, and only pages that it sent itself may ask: the Host and Origin of a request are checked.
"""

import base64
import contextlib
import io
import json
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aurora_cli.captioning.captioner import Asked, Captioner, asked_of, load_captioner
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.data.media.listing import Medium
from aurora_cli.errors import AuroraError, DataError, HostError
from aurora_cli.pipeline.result import Result

if TYPE_CHECKING:
    from aurora_cli.checkpoints.checkpoint import Checkpoint

HOST = "127.0.0.1"
IDLE_S = 30.0
"""A connection that sends nothing for so long is closed."""

_CHUNK = 1 << 20
_POLICY = (
    "default-src 'none'; img-src blob: data:; media-src blob:; connect-src 'self'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'"
)


@dataclass(frozen=True)
class ServeResult(Result):
    """What a page was asked, when it is closed."""

    model: str
    url: str
    captions: int = 0
    dry_run: bool = False

    def lines(self) -> list[str]:
        if self.dry_run:
            return [f"Would open a page at {self.url}, to caption with {self.model}"]
        return [f"{self.captions:,} captions by {self.model}"]


def serve(settings: Settings, reporter: Reporter, *, dry_run: bool) -> ServeResult:
    """Serve the page until Ctrl-C.

    Raises:
        DataError: there is no model, or it is damaged.
        HostError: the port is taken.
    """
    from aurora_cli.pipeline.caption.command import find_model

    caption = settings.caption
    workspace = Workspace(settings.workspace)
    name = caption.model or str(find_model(workspace, reporter))
    if dry_run:
        return ServeResult(name, f"http://{HOST}:{caption.port}/", dry_run=True)

    from aurora_cli.checkpoints.checkpoint import Origin
    from aurora_cli.checkpoints.opening import open_checkpoint

    checkpoint = open_checkpoint(name, Origin(workspace.root, None, settings.model))
    asked = asked_of(settings, checkpoint)
    page = Page(name, load_captioner(settings, checkpoint, asked), checkpoint, int(caption.max_upload_mb * 1e6))
    with start(page, caption.port) as url:
        reporter.warning(f"{name} captions at {url} (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return ServeResult(name, url, page.captions)


@contextlib.contextmanager
def start(page: "Page", port: int) -> Iterator[str]:
    """Serve `page` in the background; its address."""
    try:
        server = ThreadingHTTPServer((HOST, port), _handler(page))
    except (OSError, OverflowError) as error:
        raise HostError(f"port {port} of {HOST}: {error}", hint="Name another: --port 0 takes a free one.") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class Refused(Exception):
    """A request that cannot be answered: the status, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Question(NamedTuple):
    """What the page asks about a medium."""

    name: str
    ratio: float
    slowfast: bool
    prompt: str


class Page:
    """A captioner behind the page: one medium at a time."""

    def __init__(self, name: str, captioner: Captioner, checkpoint: "Checkpoint", max_bytes: int) -> None:
        self.name = name
        self.captioner = captioner
        self.checkpoint = checkpoint
        self.max_bytes = max_bytes
        self.captions = 0
        self.turn = threading.Lock()
        self.html = files("aurora_cli.pipeline.caption").joinpath("page.html").read_bytes()
        self.tokens_by_percent = self._tokens()

    def facts(self) -> dict[str, Any]:
        asked = self.captioner.asked
        return {
            "model": self.name,
            "patches": self.tokens_by_percent["100"],
            "tokens": self.tokens_by_percent,
            "ratio": asked.merging.kept_ratio,
            "slowfast": asked.merging.slowfast,
            "prompt": asked.prompt,
            "clip_prompt": asked.clip_prompt,
            "max_bytes": self.max_bytes,
        }

    def answer(self, path: Path, question: Question, write: Any) -> None:
        """Caption the file at `path`; `write` is given each line of the answer."""
        asked = self._asked(question)
        kind = _kind(question.name)
        medium = Medium(question.name, path, kind)
        began = time.monotonic()
        first: list[float] = []

        def say(piece: str) -> None:
            first.append(time.monotonic())
            write({"say": piece})

        made, rejected = self.captioner.caption([medium], asked, say)
        ended = time.monotonic()
        if rejected:
            raise Refused(422, rejected[0]["reason"].replace(str(path), question.name))
        self.captions += 1
        (line,) = made
        until_first = (first[0] if first else ended) - began
        per_token = (ended - began - until_first) / max(1, line["new_tokens"] - 1)
        timing = {"first_token_s": round(until_first, 4), "per_token_s": round(per_token, 5)}
        write({"done": {**line, **timing, "regions": self._regions(medium, asked)}})

    def _asked(self, question: Question) -> Asked:
        asked = self.captioner.asked
        changes = {"kept_ratio": question.ratio, "slowfast": question.slowfast}
        prompt = {"prompt": question.prompt, "clip_prompt": question.prompt} if question.prompt else {}
        return asked._replace(merging=asked.merging.model_copy(update=changes), **prompt)

    def _tokens(self) -> dict[str, int]:
        """Percent of the patches kept -> tokens of a frame, for those that the tower's layers can reach."""
        found: dict[str, int] = {}
        for percent in range(1, 101):
            merging = self.captioner.asked.merging.model_copy(update={"kept_ratio": percent / 100})
            with contextlib.suppress(AuroraError):
                found[str(percent)] = self.captioner.visual_tokens(1, merging)
        return found

    def _regions(self, medium: Medium, asked: Asked) -> list[dict[str, Any]]:
        """Each frame as the tower gets it, and as merging leaves it."""
        from aurora_cli.captioning.regions import PANEL, paint
        from aurora_cli.pipeline.merge_view import views_of

        model = self.captioner.model
        tower: Any = model.model.vision_tower
        normalised, pictures = self.captioner.frames_to_look_at(medium, asked)
        views = views_of(tower, model.config, normalised.to(model.device, model.dtype), asked.merging)
        if asked.merging.slowfast and len(pictures) > 1:
            whole = TokenMerging(kept_ratio=1.0)
            views[:1] = views_of(tower, model.config, normalised[:1].to(model.device, model.dtype), whole)
        patch = tower.config.patch_size
        shown = []
        for picture, view in zip(pictures, views, strict=True):
            cell = max(1, round(PANEL / max(view.region_RC.shape)))
            painted = paint(picture, patch, view.region_RC, cell)
            shown.append({"tokens": view.tokens, "picture": _data_url(picture), "merged": _data_url(painted)})
        return shown


def _kind(name: str) -> Any:
    from aurora_cli.data.media.reader import CLIP_SUFFIXES, PICTURE_SUFFIXES

    suffix = Path(name).suffix.lower()
    if suffix in CLIP_SUFFIXES:
        return "clip"
    if suffix in PICTURE_SUFFIXES:
        return "picture"
    raise Refused(415, f"{name or 'a file without a name'}: is neither a picture nor a clip by its name")


def _data_url(pixels: Any) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


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
