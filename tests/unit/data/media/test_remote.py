"""Files from the network: what a server refuses is over when it is said."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from aurora_cli.data.media.remote.http import fetch_bytes
from aurora_cli.errors import DataError


class _Nothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_refusals_that_are_kept_hold_no_connection():
    """Rejects are kept to the end of a run, and a server meets as many as its clients like."""
    process, errors = psutil.Process(), []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Nothing) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        port = server.server_port
        for _ in range(10):
            with pytest.raises(DataError, match="404") as refused:
                fetch_bytes(f"http://127.0.0.1:{port}/a.png", 1_000)
            errors.append(refused.value)
        held = [each for each in process.net_connections("tcp") if each.raddr and each.raddr.port == port]
        server.shutdown()
    assert len(errors) == 10
    assert held == []
