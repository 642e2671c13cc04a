"""An S3 server of moto's in a process of its own, and a proxy before it that counts bytes and makes faults.

Skips the tests that ask for it where moto or s3fs is not installed: pip install -e '.[s3,s3-tests]'.
"""

import contextlib
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from fsspec.implementations.memory import MemoryFileSystem

MISSING = [name for name in ("s3fs", "moto", "flask") if find_spec(name) is None]
needs_s3 = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed: pip install -e '.[s3,s3-tests]'"
)
BUCKET = "bucket"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
_BUSY = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code><Message>Please reduce your request rate.'
    b"</Message></Error>"
)


class Request(NamedTuple):
    method: str
    path: str
    range: str | None


@dataclass
class Proxy:
    """What passed, and what goes wrong. Faults are used up as requests come."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    received: int = 0
    """Bytes that the server sent, heads and bodies."""
    busy: int = 0
    """So many next requests are answered by 503."""
    cuts: list[int] = field(default_factory=list)
    """Bytes of the next answers to GET, after which the connection breaks off."""
    bytes_per_s: int | None = None
    """How fast answers come."""
    stalls: threading.Event | None = None
    """Set when a part of an upload arrives, which then stays unanswered."""


class S3(NamedTuple):
    """A bucket, behind a proxy."""

    proxy: Proxy
    direct: str
    """The server's address, past the proxy."""

    def url(self, key: str = "") -> str:
        return f"s3://{BUCKET}/{key}"

    def objects(self) -> dict[str, bytes]:
        files = filesystem(self.direct)
        return {key.removeprefix(f"{BUCKET}/"): files.cat_file(key) for key in files.find(BUCKET)}

    def write(self, key: str, content: bytes) -> str:
        filesystem(self.direct).pipe_file(f"{BUCKET}/{key}", content)
        return self.url(key)

    def uploads(self) -> list[str]:
        """Keys of uploads by parts that are not complete."""
        return [upload["Key"] for upload in filesystem(self.direct).list_multipart_uploads(BUCKET)]


class Memory(NamedTuple):
    """A bucket in this process's memory, for what does not depend on the store."""

    def url(self, key: str = "") -> str:
        return f"memory://{BUCKET}/{key}"

    def objects(self) -> dict[str, bytes]:
        files = MemoryFileSystem()
        return {key.removeprefix(f"/{BUCKET}/"): files.cat_file(key) for key in files.find(f"/{BUCKET}")}

    def write(self, key: str, content: bytes) -> str:
        MemoryFileSystem().pipe_file(f"/{BUCKET}/{key}", content)
        return self.url(key)


def filesystem(endpoint: str):
    import s3fs

    return s3fs.S3FileSystem(
        key="k", secret="s", endpoint_url=endpoint, use_listings_cache=False, client_kwargs={"region_name": "us-east-1"}
    )


def forget_clients() -> None:
    """The next URL is opened by what the environment says then."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The address of an empty server."""
    child = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{int(child.stdout.readline())}"
    finally:
        child.kill()
        child.communicate()


@contextlib.contextmanager
def s3_bucket(server: str, patch: pytest.MonkeyPatch, cache: Path) -> Iterator[S3]:
    """An empty bucket, reached through a proxy by this process and those that it starts."""
    files = filesystem(server)
    if files.exists(BUCKET):
        files.clear_multipart_uploads(BUCKET)
        files.rm(BUCKET, recursive=True)
    files.call_s3("create_bucket", Bucket=BUCKET)
    with proxy_of(int(server.rpartition(":")[2])) as proxy:
        for name, value in {**CREDENTIALS, "XDG_CACHE_HOME": str(cache)}.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        forget_clients()
        yield S3(proxy, server)
        forget_clients()


@contextlib.contextmanager
def proxy_of(port: int) -> Iterator[Proxy]:
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = Proxy(listener.getsockname()[1])
    threading.Thread(target=_accept, args=(listener, proxy, port), daemon=True).start()
    try:
        yield proxy
    finally:
        listener.close()


def _accept(listener: socket.socket, proxy: Proxy, port: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            near, _ = listener.accept()
            threading.Thread(target=_serve, args=(near, proxy, port), daemon=True).start()


def _serve(near: socket.socket, proxy: Proxy, port: int) -> None:
    """One connection, a request after the other."""
    with contextlib.suppress(OSError), near:
        while request := _message(near):
            head, rest, length = request
            method, path = head.split(b" ")[:2]
            asked = re.search(rb"\r\nrange: *([^\r]+)", head, re.IGNORECASE)
            proxy.requests.append(Request(method.decode(), path.decode(), asked and asked[1].decode()))
            if b"\r\nExpect: 100-continue" in head:
                near.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = rest
            while len(body) < length and (more := near.recv(1 << 16)):
                body += more
            if proxy.stalls is not None and b"partNumber=2" in path:
                proxy.stalls.set()
                time.sleep(60)
            if proxy.busy > 0:
                proxy.busy -= 1
                near.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\n")
                near.sendall(b"Content-Length: %d\r\n\r\n" % len(_BUSY) + (b"" if method == b"HEAD" else _BUSY))
                continue
            _answer(near, proxy, port, head, body, is_get=method == b"GET")


def _answer(near: socket.socket, proxy: Proxy, port: int, head: bytes, body: bytes, *, is_get: bool) -> None:
    head = re.sub(rb"\r\nConnection: [^\r]+|\r\nExpect: [^\r]+", b"", head, flags=re.IGNORECASE)
    with socket.create_connection(("127.0.0.1", port)) as far:
        far.sendall(head[:-2] + b"Connection: close\r\n\r\n" + body)
        cut = proxy.cuts.pop(0) if is_get and proxy.cuts else None
        sent = 0
        while content := far.recv(1 << 16):
            content = content.replace(b"Connection: close\r\n", b"", 1) if sent == 0 else content
            if cut is not None and sent + len(content) > cut:
                near.sendall(content[: cut - sent])
                near.shutdown(socket.SHUT_RDWR)
                return
            near.sendall(content)
            sent += len(content)
            proxy.received += len(content)
            if proxy.bytes_per_s is not None:
                time.sleep(len(content) / proxy.bytes_per_s)


def _message(near: socket.socket) -> tuple[bytes, bytes, int] | None:
    """Head, what came of the body, and the body's length."""
    got = b""
    while b"\r\n\r\n" not in got:
        select.select([near], [], [])
        more = near.recv(1 << 16)
        if not more:
            return None
        got += more
    head, _, rest = got.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return head + b"\r\n\r\n", rest, int(length[1]) if length else 0
