"""Files from the network: what a server refuses is over when it is said, and what it sends besides is not read."""

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from aurora_cli.data.media.remote import paced
from aurora_cli.data.media.remote.http import fetch_bytes
from aurora_cli.errors import DataError

PIECES, PIECE = 64, bytes(1 << 20)


class _Server(BaseHTTPRequestHandler):
    pieces_sent = 0

    def do_GET(self) -> None:
        if self.path == "/moved.png":
            self.send_response(302)
            self.send_header("Location", "/missing.png")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                for _ in range(PIECES):
                    self.wfile.write(PIECE)
                    _Server.pieces_sent += 1
        elif self.path in ("/head.png", "/body.png"):
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.end_headers() if self.path == "/body.png" else self.flush_headers()
            with contextlib.suppress(ConnectionError):
                while True:
                    self.wfile.write(b"X: x\r\n")
                    time.sleep(0.01)
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_refusals_that_are_kept_hold_no_connection(port):
    """Rejects are kept to the end of a run, and a server meets as many as its clients like."""
    process, errors = psutil.Process(), []
    for _ in range(10):
        with pytest.raises(DataError, match="404") as refused:
            fetch_bytes(f"http://127.0.0.1:{port}/a.png", 1_000)
        errors.append(refused.value)
    held = [each for each in process.net_connections("tcp") if each.raddr and each.raddr.port == port]
    assert len(errors) == 10
    assert held == []


def test_the_body_of_a_redirect_is_not_read(port):
    """It is of any size, and its server somebody's whom a client named."""
    _Server.pieces_sent = 0
    with pytest.raises(DataError, match="404"):
        fetch_bytes(f"http://127.0.0.1:{port}/moved.png", 1_000)
    assert _Server.pieces_sent < PIECES // 2


@pytest.mark.parametrize("part", ["head", "body"])
def test_who_sends_a_few_bytes_now_and_then_is_given_up(port, part, monkeypatch):
    """Whoever waits for it is held otherwise: a thread of a server that its clients share."""
    monkeypatch.setattr(paced, "PATIENCE_S", 0.1)
    with pytest.raises(DataError, match="sends less than 10,000 bytes a second"):
        fetch_bytes(f"http://127.0.0.1:{port}/{part}.png", 1_000)
