"""A service on a port, by uvicorn, until Ctrl-C or SIGTERM: then what runs is finished and nothing new is taken."""

import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from aurora_cli.errors import HostError, reason_of
from aurora_cli.serving.app import Service

HEAD_S = 30.0
"""A connection that has sent no whole head by then is closed."""

CONNECTIONS = 1024
"""Open at a time; others are answered 503."""

CLOSING_S = 2
"""After draining: connections get so long to take the last of an answer."""


class TimedProtocol(H11Protocol):
    """HTTP/1.1, with little patience for a client that opens a connection and sends nothing, or slowly."""

    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._watch = self.loop.call_later(HEAD_S, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        if self.cycle is None:
            self.transport.close()


class DrainingServer(uvicorn.Server):
    """Listens on while it drains, so that new requests are refused in words."""

    def __init__(self, service: Service, drain_s: float) -> None:
        config = uvicorn.Config(
            service.app,
            http=TimedProtocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            interface="asgi3",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=CLOSING_S,
        )
        super().__init__(config)
        self._service, self._drain_s = service, drain_s
        self._deadline: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends."""
        if self._deadline is None:
            self.drain()
        else:
            self.should_exit = True

    def drain(self) -> None:
        self._service.engine.drain()
        self._deadline = time.monotonic() + self._drain_s

    async def on_tick(self, counter: int) -> bool:
        is_done = self._service.engine.is_idle and not self.server_state.tasks
        if self._deadline is not None and (is_done or time.monotonic() > self._deadline):
            self.should_exit = True
        return await super().on_tick(counter)


def bound_socket(host: str, port: int) -> socket.socket:
    """Bound, and not listening: until the model is loaded, connections are refused.

    Raises:
        HostError: the port is taken, or there is no such address.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except BaseException:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        raise HostError(
            f"port {port} of {host}: {reason_of(error)}", hint="Name another: --port 0 takes a free one."
        ) from error
    return listening


def url_of(listening: socket.socket) -> str:
    """Where a browser finds it."""
    host, port, *_ = listening.getsockname()
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def serve_until_stopped(service: Service, listening: socket.socket, drain_s: float) -> None:
    """In the main thread: until Ctrl-C or SIGTERM, and what runs then is finished within `drain_s` seconds."""
    server = DrainingServer(service, drain_s)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        service.close()


@contextlib.contextmanager
def running(service: Service, port: int = 0, host: str = "127.0.0.1") -> Iterator[str]:
    """The service in the background; its address.

    Raises:
        HostError: the port is taken.
    """
    listening = bound_socket(host, port)
    server = DrainingServer(service, drain_s=5)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield url_of(listening)
    finally:
        server.should_exit = True
        thread.join(timeout=30)
