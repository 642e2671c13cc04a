"""A small hub on a loopback port: the part of the hub's HTTP API that `huggingface_hub` uses to list and fetch.

    GET  /api/datasets/<repo>/revision/<revision>     the repository and the commit that a revision names
    GET  /api/datasets/<repo>/tree/<commit>           files, with LFS hashes, in pages
    GET  /api/datasets?author=...                     repositories of an owner
    GET|HEAD /datasets/<repo>/resolve/<commit>/<path> a file; Range; LFS files are redirected to a second port

Faults are fields of `Faults`, set while it runs.
"""

import contextlib
import hashlib
import json
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

REPO = "wchai/AuroraCap-trainset"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAGE = 100


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
    gated: bool = False
    token: str | None = None
    """Only who has it may read."""


class Hub:
    """A running hub with one data set of `files` (path -> content); LFS above `lfs_above` bytes."""

    def __init__(self, files: dict[str, bytes], *, lfs_above: int = 1000) -> None:
        self.files, self.lfs_above = files, lfs_above
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
        return f"http://127.0.0.1:{self._front.server_port}"

    @property
    def storage_port(self) -> int:
        return self._storage.server_port

    def is_lfs(self, path: str) -> bool:
        return len(self.files[path]) > self.lfs_above

    def entry(self, path: str) -> dict[str, object]:
        content = self.files[path]
        git_sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": git_sha1}
        if self.is_lfs(path):
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
        return entry

    def close(self) -> None:
        for server in (self._front, self._storage):
            server.shutdown()
            server.server_close()


@contextlib.contextmanager
def running_hub(files: dict[str, bytes], **options: int) -> Iterator[Hub]:
    hub = Hub(files, **options)
    try:
        yield hub
    finally:
        hub.close()


def _handler(hub: Hub, *, is_storage: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            path = urllib.parse.unquote(url.path)
            query = urllib.parse.parse_qs(url.query)
            headers = self.headers
            hub.requests.append(
                Request(self.command, path, headers["Range"], headers["Authorization"], self.server.server_address[1])
            )
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
            elif path == "/api/datasets":
                self.answer(200, [{"id": REPO}, {"id": f"{REPO.split('/')[0]}/VDC"}])
            elif not path.startswith(f"/api/datasets/{REPO}/"):
                self.answer(404, {"error": "no such data set"}, {"X-Error-Code": "RepoNotFound"})
            else:
                what, _, rest = path.removeprefix(f"/api/datasets/{REPO}/").partition("/")
                if rest.split("/")[0] not in ("main", COMMIT):
                    self.answer(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
                elif what == "revision":
                    self.answer(200, {"id": REPO, "sha": COMMIT})
                else:
                    self.answer_tree(int(query.get("cursor", ["0"])[0]))

        def answer_tree(self, first: int) -> None:
            paths = sorted(hub.files)
            folders = {parent for path in paths if (parent := path.rpartition("/")[0])} if first == 0 else set()
            entries = [{"type": "directory", "path": folder, "oid": "0" * 40, "size": 0} for folder in sorted(folders)]
            entries += [hub.entry(path) for path in paths[first : first + PAGE]]
            following = f"{hub.url}/api/datasets/{REPO}/tree/{COMMIT}?recursive=true&cursor={first + PAGE}"
            self.answer(200, entries, {"Link": f'<{following}>; rel="next"'} if first + PAGE < len(paths) else {})

        def resolve(self, path: str) -> None:
            prefix = f"/datasets/{REPO}/resolve/{COMMIT}/"
            file = path.removeprefix(prefix)
            if hub.faults.statuses:
                status, headers = hub.faults.statuses.pop(0)
                self.answer(status, {"error": "later"}, headers)
            elif not path.startswith(prefix) or file not in hub.files or file in hub.faults.gone:
                self.answer(404, {"error": "no such file"}, {"X-Error-Code": "EntryNotFound"})
            elif hub.is_lfs(file):
                content = hub.files[file]
                where = f"http://127.0.0.1:{hub.storage_port}/storage/{urllib.parse.quote(file)}"
                about = {"Location": where, "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(content))}
                self.answer(302, {}, about | {"X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"'})
            else:
                self.send_content(file)

        def send_content(self, file: str) -> None:
            content = hub.faults.changed.get(file, hub.files[file])
            if hub.faults.wrong.get(file, 0) > 0:
                hub.faults.wrong[file] -= 1
                content = bytes([content[0] ^ 1]) + content[1:]
            wanted, first, size = self.headers["Range"], 0, len(content)
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
            cut = hub.faults.cuts.pop(0) if hub.faults.cuts else size
            self.send_bytes(file, content[first : first + cut])
            if first + cut < size:
                self.close_connection = True

        def send_bytes(self, file: str, content: bytes) -> None:
            speed = hub.faults.bytes_per_s
            step = len(content) or 1 if speed is None else max(int(speed / 20), 1)
            with contextlib.suppress(ConnectionError):
                for begin in range(0, len(content), step):
                    self.wfile.write(content[begin : begin + step])
                    hub.sent[file] += len(content[begin : begin + step])
                    if speed is not None:
                        time.sleep(step / speed)

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
