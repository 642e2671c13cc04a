"""Connections to the hub read a MiB at a time, where the library is one that this is known of."""

from collections.abc import Iterable, Iterator

import httpcore2
import pytest

from aurora_cli.hub import session

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"


class RecordingStream(httpcore2.NetworkStream):
    """A connection that answers at once and notes how many bytes it was asked for."""

    def __init__(self) -> None:
        self.requested: list[int] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.requested.append(max_bytes)
        return RESPONSE if len(self.requested) == 1 else b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        pass

    def close(self) -> None:
        pass

    def get_extra_info(self, info: str) -> None:
        return None


class RecordingBackend(httpcore2.NetworkBackend):
    def __init__(self) -> None:
        self.stream = RecordingStream()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable | None = None,
    ) -> RecordingStream:
        return self.stream


@pytest.fixture
def library() -> Iterator[type]:
    """The library as it is without us."""
    before = httpcore2.HTTP11Connection.READ_NUM_BYTES
    httpcore2.HTTP11Connection.READ_NUM_BYTES = 65_536
    session.enlarge_reads.cache_clear()
    yield httpcore2.HTTP11Connection
    httpcore2.HTTP11Connection.READ_NUM_BYTES = before
    session.enlarge_reads.cache_clear()


def test_a_connection_asks_its_socket_for_a_mebibyte(library: type):
    backend = RecordingBackend()
    assert session.enlarge_reads()
    with httpcore2.ConnectionPool(network_backend=backend) as pool:
        assert pool.request("GET", "http://hub.test/").content == b"body"
    assert set(backend.stream.requested) == {session.READ_BYTES}


@pytest.mark.parametrize("version", ["3.0.0", "1.9", "unknown"])
def test_another_version_of_the_library_is_left_alone(library, monkeypatch: pytest.MonkeyPatch, version: str):
    monkeypatch.setattr(session, "version", {"httpcore2": version}.get)
    assert not session.enlarge_reads()
    assert library.READ_NUM_BYTES == 65_536


def test_a_library_without_the_number_is_left_alone(library, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(library, "READ_NUM_BYTES")
    assert not session.enlarge_reads()
    assert not hasattr(library, "READ_NUM_BYTES")
    monkeypatch.undo()
