"""A small hub on a loopback port: the part of the hub's HTTP API that `huggingface_hub` uses to list and fetch.

    GET  /api/datasets/<repo>/revision/<revision>     the repository and the commit that a revision names
    GET  /api/datasets/<repo>/tree/<commit>           files, with LFS hashes, in pages
    GET  /api/datasets?author=...                     repositories of an owner
    GET|HEAD /datasets/<repo>/resolve/<commit>/<path> a file; Range; LFS files are redirected to a second port

A model's addresses begin with /api/models/<repo> and /<repo>.

Faults are fields of `Faults`, set while it runs. `python -m tests.hub PATH=FILE` serves files in a process of its own,
for benchmarks: sent by the kernel, from the page cache.
"""

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

REPO = "wchai/AuroraCap-trainset"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAGE = 100

Content = bytes | Path
"""What a file holds, or the file that holds it."""

Kind = Literal["datasets", "models"]


class Request(NamedTuple):
    method: str
    path: str
    range: str | None
    authorization: str | None
    port: int


@dataclass
class Faults:
    """What goes wrong. Lists and counts are used up as requests come."""

    cuts: list[int] = field(default_factory=list)
    """Bytes of content after which the next responses with content break off."""
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Status and headers that the next requests of files get instead."""
    api_statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """The same for requests of the API."""
    wrong: dict[str, int] = field(default_factory=dict)
    """Path -> how many more times it comes with a byte turned."""
    changed: dict[str, bytes] = field(default_factory=dict)
    """Path -> what it holds instead of what is listed."""
    gone: set[str] = field(default_factory=set)
    """Listed, but not there."""
    ignores_range: bool = False
    bytes_per_s: float | None = None
    stalls: int = 0
    """How many more responses with content stop in their middle, and say nothing for `stall_s`."""
    stall_s: float = 5.0
    gated: bool = False
    token: str | None = None
    """Only who has it may read."""


class Hub:
    """A running hub with one data set, or model, of `files` (path -> content); LFS above `lfs_above` bytes."""

    def __init__(
        self,
        files: Mapping[str, Content],
        *,
        lfs_above: int = 1000,
        repo: str = REPO,
        card: Mapping[str, object] | None = None,
        kind: Kind = "datasets",
    ) -> None:
        self.files, self.lfs_above, self.repo, self.card = files, lfs_above, repo, card
        self.api = f"/api/{kind}"
        self.content = f"/{repo}/resolve" if kind == "models" else f"/{kind}/{repo}/resolve"
        self.faults = Faults()
        self.requests: list[Request] = []
        self.sent: Counter[str] = Counter()
        """Path -> bytes of content that left."""
        self._front = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, is_storage=False))
        self._storage = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, is_storage=True))
        for server in (self._front, self._storage):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return self._front.server_port

    @property
    def storage_port(self) -> int:
        return self._storage.server_port

    def is_lfs(self, path: str) -> bool:
        return _size(self.files[path]) > self.lfs_above

    def entry(self, path: str) -> dict[str, object]:
        size, (sha256, git_sha1) = _size(self.files[path]), _hashes(self.files[path])
        entry: dict[str, object] = {"type": "file", "path": path, "size": size, "oid": git_sha1}
        if self.is_lfs(path):
            entry["lfs"] = {"oid": sha256, "size": size, "pointerSize": 134}
        return entry

    def close(self) -> None:
        for server in (self._front, self._storage):
            server.shutdown()
            server.server_close()


def _size(content: Content) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


@cache
def _hashes(content: Content) -> tuple[str, str]:
    """sha256, and git's sha1."""
    sha256, git_sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % _size(content))
    with BytesIO(content) if isinstance(content, bytes) else open(content, "rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            git_sha1.update(block)
    return sha256.hexdigest(), git_sha1.hexdigest()


@contextlib.contextmanager
def running_hub(
    files: Mapping[str, Content],
    *,
    lfs_above: int = 1000,
    repo: str = REPO,
    card: Mapping[str, object] | None = None,
    kind: Kind = "datasets",
) -> Iterator[Hub]:
    from huggingface_hub import close_session

    hub = Hub(files, lfs_above=lfs_above, repo=repo, card=card, kind=kind)
    try:
        yield hub
    finally:
        close_session()  # its connections wait for more, and a thread of the hub at the end of each
        hub.close()


def _handler(hub: Hub, *, is_storage: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each small file waits 40 ms for its headers to be acknowledged

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            path = urllib.parse.unquote(url.path)
            query = urllib.parse.parse_qs(url.query)
            headers = self.headers
            port = hub.storage_port if is_storage else hub.port
            hub.requests.append(Request(self.command, path, headers["Range"], headers["Authorization"], port))
            if is_storage:
                self.send_content(path.removeprefix("/storage/"))
            elif hub.faults.token is not None and headers["Authorization"] != f"Bearer {hub.faults.token}":
                self.answer(401, {"error": "who are you"}, {"X-Error-Code": "RepoNotFound"})
            elif hub.faults.gated:
                self.answer(403, {"error": "ask first"}, {"X-Error-Code": "GatedRepo"})
            elif path.startswith("/api/"):
                self.answer_api(path, query)
            else:
                self.resolve(path)

        def answer_api(self, path: str, query: dict[str, list[str]]) -> None:
            if hub.faults.api_statuses:
                status, headers = hub.faults.api_statuses.pop(0)
                self.answer(status, {"error": "later"}, headers)
            elif path == hub.api:
                self.answer(200, [{"id": hub.repo}, {"id": f"{hub.repo.split('/')[0]}/VDC"}])
            elif not path.startswith(f"{hub.api}/{hub.repo}/"):
                self.answer(404, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
            else:
                what, _, rest = path.removeprefix(f"{hub.api}/{hub.repo}/").partition("/")
                if rest.split("/")[0] not in ("main", COMMIT):
                    self.answer(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
                elif what == "revision":
                    self.answer(200, {"id": hub.repo, "sha": COMMIT, "cardData": hub.card})
                else:
                    self.answer_tree(int(query.get("cursor", ["0"])[0]))

        def answer_tree(self, first: int) -> None:
            paths = sorted(hub.files)
            folders = {parent for path in paths if (parent := path.rpartition("/")[0])} if first == 0 else set()
            entries = [{"type": "directory", "path": folder, "oid": "0" * 40, "size": 0} for folder in sorted(folders)]
            entries += [hub.entry(path) for path in paths[first : first + PAGE]]
            following = f"{hub.url}{hub.api}/{hub.repo}/tree/{COMMIT}?recursive=true&cursor={first + PAGE}"
            self.answer(200, entries, {"Link": f'<{following}>; rel="next"'} if first + PAGE < len(paths) else {})

        def resolve(self, path: str) -> None:
            revision, _, file = path.removeprefix(f"{hub.content}/").partition("/")
            if hub.faults.statuses:
                status, headers = hub.faults.statuses.pop(0)
                self.answer(status, {"error": "later"}, headers)
            elif not path.startswith(f"{hub.content}/"):
                self.answer(404, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
            elif revision not in ("main", COMMIT) or file not in hub.files or file in hub.faults.gone:
                self.answer(404, {"error": "no such file"}, {"X-Error-Code": "EntryNotFound"})
            elif hub.is_lfs(file):
                sha256, _ = _hashes(hub.files[file])
                where = f"http://127.0.0.1:{hub.storage_port}/storage/{urllib.parse.quote(file)}"
                about = {"Location": where, "X-Repo-Commit": COMMIT, "X-Linked-Size": str(_size(hub.files[file]))}
                self.answer(302, {}, about | {"X-Linked-ETag": f'"{sha256}"'})
            else:
                self.send_content(file)

        def send_content(self, file: str) -> None:
            content = hub.faults.changed.get(file, hub.files[file])
            if isinstance(content, bytes) and hub.faults.wrong.get(file, 0) > 0:
                hub.faults.wrong[file] -= 1
                content = bytes([content[0] ^ 1]) + content[1:]
            wanted, first, size = self.headers["Range"], 0, _size(content)
            if wanted is not None and not hub.faults.ignores_range:
                first = int(wanted.removeprefix("bytes=").split("-")[0])
                if first >= size:
                    self.answer(416, {"error": "too far"}, {"Content-Range": f"bytes */{size}"})
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(size - first))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hub.entry(file)["oid"]}"')
            self.end_headers()
            if self.command == "HEAD":
                return
            if isinstance(content, Path):
                self.send_from_cache(content, first)
                return
            cut = hub.faults.cuts.pop(0) if hub.faults.cuts else size
            self.send_bytes(file, content[first : first + cut])
            if first + cut < size:
                self.close_connection = True

        def send_from_cache(self, path: Path, first: int) -> None:
            self.wfile.flush()
            size = _size(path)
            with contextlib.suppress(ConnectionError), open(path, "rb") as file:
                while first < size:
                    first += os.sendfile(self.connection.fileno(), file.fileno(), first, size - first)

        def send_bytes(self, file: str, content: bytes) -> None:
            speed = hub.faults.bytes_per_s
            step = len(content) or 1 if speed is None else max(int(speed / 20), 1)
            if hub.faults.stalls > 0:
                step = max(len(content) // 2, 1)
            with contextlib.suppress(ConnectionError):
                for begin in range(0, len(content), step):
                    if begin and hub.faults.stalls > 0:
                        self.stall()
                    hub.sent[file] += len(content[begin : begin + step])  # first: a reader that has them all may ask
                    self.wfile.write(content[begin : begin + step])
                    if speed is not None:
                        time.sleep(step / speed)

        def stall(self) -> None:
            hub.faults.stalls -= 1
            self.wfile.flush()
            time.sleep(hub.faults.stall_s)

        def answer(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, text in (headers or {}).items():
                self.send_header(name, text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    return Handler


def main(*places: str) -> None:
    """Serve `path=file` pairs until stdin closes; says where: the endpoint, and the storage behind its redirects."""
    files = {path: Path(file) for path, _, file in (place.partition("=") for place in places)}
    for file in files.values():
        _hashes(file)
    with running_hub(files) as hub:
        print(hub.url, f"http://127.0.0.1:{hub.storage_port}/storage/", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
