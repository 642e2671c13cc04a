"""The part of the hub's HTTP API that takes uploads, on a loopback port.

POST /api/repos/create                           a repository
POST /api/validate-yaml                          the front matter of its card
POST /api/models/<repo>/preupload/<revision>     which files go by LFS
POST /<repo>.git/info/lfs/objects/batch          where their bytes go
PUT  /lfs/<sha256>                               the bytes
POST /api/models/<repo>/commit/<revision>        what is in the commit
"""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LFS_ABOVE = 2000


class UploadHub:
    """Repositories by name, each with its files."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.commits: list[str] = []
        self.refuse: tuple[str, int] | None = None
        """Requests whose path contains this get this status."""
        self.unknown: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def upload_hub(token: str = "hf_test") -> Iterator[UploadHub]:
    from huggingface_hub import close_session

    hub = UploadHub(token)
    try:
        yield hub
    finally:
        close_session()  # its connections wait for more, and a thread of the hub at the end of each
        hub.close()


def _handler(hub: UploadHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            hub.unknown.append(f"GET {self.path}")
            self.answer(404, {"error": "nothing to fetch here"})

        def do_PUT(self) -> None:
            sha256, content = self.path.rpartition("/")[2], self.body()
            assert hashlib.sha256(content).hexdigest() == sha256
            hub.objects[sha256] = content
            self.answer(200, {})

        def do_POST(self) -> None:
            content = self.body()
            if hub.refuse is not None and hub.refuse[0] in self.path:
                self.answer(hub.refuse[1], {"error": "refused"})
            elif self.headers["Authorization"] != f"Bearer {hub.token}":
                self.answer(401, {"error": "Invalid username or password."})
            elif self.path == "/api/repos/create":
                self.create(json.loads(content))
            elif self.path == "/api/validate-yaml":
                self.answer(200, {"errors": [], "warnings": []})
            elif self.path.endswith("/preupload/main"):
                files = json.loads(content)["files"]
                modes = [{"path": each["path"], "uploadMode": _mode(each), "shouldIgnore": False} for each in files]
                self.answer(200, {"files": modes})
            elif self.path.endswith(".git/info/lfs/objects/batch"):
                self.answer_batch(json.loads(content)["objects"])
            elif self.path.endswith("/commit/main"):
                self.commit(content)
            else:
                hub.unknown.append(f"POST {self.path}")
                self.answer(404, {"error": "no such thing"})

        def create(self, asked: dict[str, Any]) -> None:
            repo = f"{asked.get('organization') or 'me'}/{asked['name']}"
            url = {"url": f"{hub.url}/{repo}", "name": repo}
            if repo in hub.repos:
                self.answer(409, {"error": "You already created this model repo", **url})
                return
            hub.repos[repo] = {}
            if asked.get("private") or asked.get("visibility") == "private":
                hub.private.add(repo)
            self.answer(200, url)

        def answer_batch(self, objects: list[dict[str, Any]]) -> None:
            answers = []
            for each in objects:
                answer = {"oid": each["oid"], "size": each["size"]}
                if each["oid"] not in hub.objects:
                    answer["actions"] = {"upload": {"href": f"{hub.url}/lfs/{each['oid']}"}}
                answers.append(answer)
            self.answer(200, {"transfer": "basic", "objects": answers})

        def commit(self, content: bytes) -> None:
            repo = "/".join(self.path.split("/")[3:5])
            for line in content.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "header":
                    hub.commits.append(value["summary"])
                elif entry["key"] == "file":
                    hub.repos[repo][value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    hub.repos[repo][value["path"]] = hub.objects[value["oid"]]
            oid = f"{len(hub.commits):040d}"
            self.answer(200, {"commitUrl": f"{hub.url}/{repo}/commit/{oid}", "commitOid": oid})

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers["Content-Length"] or 0))

        def answer(self, status: int, value: object) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _mode(file: dict[str, Any]) -> str:
    return "lfs" if file["size"] > LFS_ABOVE or file["path"].endswith(".safetensors") else "regular"
