"""`aurora caption --serve`: a page on this machine where an image or video is dropped and captioned.

    GET  /             the page
    GET  /model.json   what the page shows of the model: its name, tokens of a frame by kept ratio
    POST /caption      the medium as the body; in the query name, ratio, slowfast, prompt, and of max_new_tokens,
                       temperature, top_p, seed and frames what is not the command's own; lines of JSON come back:
                       {"text": piece of the caption} as it is made, then {"done": ...} or {"error": ...}

Only this machine reaches it, and only pages that it sent itself may ask: the Host and Origin of a request are checked.
"""

import contextlib
import threading
from collections.abc import Iterator

from aurora_cli.captioning.loading import build_captioner
from aurora_cli.captioning.options import options_of
from aurora_cli.checkpoints.checkpoint import OpenOptions
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.checkpoints.stated.processors import pixels_note
from aurora_cli.config.settings import Settings
from aurora_cli.console import Reporter
from aurora_cli.errors import HostError
from aurora_cli.pipeline.caption.handler import PageServer
from aurora_cli.pipeline.caption.page import Page
from aurora_cli.pipeline.caption.request import HOST, page_url
from aurora_cli.pipeline.caption.result import ServeResult


def serve(settings: Settings, model: str, reporter: Reporter) -> ServeResult:
    """Serve the page until Ctrl-C.

    Raises:
        DataError: the model is damaged.
        HostError: the port is taken.
    """
    caption = settings.caption
    checkpoint = open_checkpoint(model, OpenOptions(settings.workspace, None, settings.model))
    captioner = build_captioner(
        checkpoint,
        options_of(checkpoint, caption, settings.tokenize, settings.data),
        root=settings.workspace,
        fallback_tokenizer=settings.model.tokenizer,
        device=caption.device,
        device_map=caption.device_map,
    )
    if (note := pixels_note(checkpoint.path)) is not None:
        reporter.info(note)
    page = Page(model, captioner, int(caption.max_upload_mb * 1e6))
    with start(page, caption.port) as url:
        reporter.info(f"{model} captions at {url} (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return ServeResult(model, url, page.captions)


@contextlib.contextmanager
def start(page: Page, port: int) -> Iterator[str]:
    """Serve `page` in the background; its address.

    Raises:
        HostError: the port is taken, or is none.
    """
    try:
        server = PageServer(page, port)
    except (OSError, OverflowError) as error:
        raise HostError(f"port {port} of {HOST}: {error}", hint="Name another: --port 0 takes a free one.") from error
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield page_url(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
