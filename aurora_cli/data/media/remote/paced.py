"""Connections that are given up when a server sends too slowly: a byte now and then would hold who waits for ever.

urllib's own limit is one between two bytes.
"""

import http.client
import io
import time
import urllib.request
from typing import Any

PATIENCE_S = 30.0
"""Without a byte; and how long any pace will do."""

SLOWEST = 10_000
"""Bytes a second, from the request on."""


class PacedHTTPHandler(urllib.request.HTTPHandler):
    """http, at a pace."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class PacedHTTPSHandler(urllib.request.HTTPSHandler):
    """https, at a pace."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)


class _Paced(io.RawIOBase):
    """What comes from a server, its head too."""

    def __init__(self, source: io.BufferedReader) -> None:
        self._source = source
        self._began, self._size = time.monotonic(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """
        Raises:
            TimeoutError: it comes too slowly.
        """
        got = self._source.readinto1(buffer)
        self._size += got
        waited_s = time.monotonic() - self._began
        if waited_s > PATIENCE_S and self._size < SLOWEST * waited_s:
            raise TimeoutError(f"it sends less than {SLOWEST:,} bytes a second")
        return got

    def close(self) -> None:
        self._source.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fp = io.BufferedReader(_Paced(self.fp))


class _Connection(http.client.HTTPConnection):
    response_class = _Response


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _Response
