"""`aurora caption --serve`: a page on this machine where an image or video is dropped and captioned.

    GET  /             the page
    GET  /model.json   what the page says of the model: its name, tokens of a frame by kept ratio
    POST /caption      the medium as the body, name, ratio, slowfast and prompt in the query; lines of JSON come back:
                       {"say": piece of the caption} as it is made, then {"done": ...} or {"error": ...}

Only this machine reaches it, and only pages that it sent itself may ask: the Host and Origin of a request are checked.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import ThreadingHTTPServer

from aurora_cli.captioning.captioner import asked_of, load_captioner
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.errors import HostError
from aurora_cli.pipeline.caption.handler import HOST, _handler
from aurora_cli.pipeline.caption.page import Page
from aurora_cli.pipeline.result import Result


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
    from aurora_cli.runs.find import find_model

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
