"""A judge on a loopback port: OpenAI's chat completions, with faults that are used up as requests come.

It answers a question with the caption's word behind the question's own ("colour" in "colour: red"), or `not mentioned`,
and judges by equality: yes and 5, or no and 1.
"""

import contextlib
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-very-secret-0815"


@dataclass
class Stub:
    """A running judge; faults and odd replies may be set while it runs."""

    port: int = 0
    faults: list[str] = field(default_factory=list)
    """What the next requests get instead: `429`, `500`, `400`, ..., `malformed`, `empty`, `cut`, `torn`, `slow`."""
    always: dict[str, str] = field(default_factory=dict)
    """Words of a prompt -> the fault that every request with them gets."""
    replies: dict[str, str] = field(default_factory=dict)
    """Words of a prompt -> what is replied to it."""
    retry_after: str = "0"
    slow_s: float = 2.0
    delay_s: float = 0.0
    has_usage: bool = True
    prompts: list[str] = field(default_factory=list)
    bodies: list[dict[str, object]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    authorization: set[str | None] = field(default_factory=set)
    running: int = 0
    most_running: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def questions(self) -> Counter[str]:
        """How often each question was put with a caption."""
        found = (re.search(r"Question: (.*)", prompt) for prompt in self.prompts if "Description:" in prompt)
        return Counter(match[1] for match in found if match)

    def reply(self, prompt: str) -> str:
        for words, text in self.replies.items():
            if words in prompt:
                return text
        right, given = (re.search(rf"{name} answer: (.*)", prompt) for name in ("Right", "Given"))
        if right and given:
            same = right[1].strip() == given[1].strip()
            return json.dumps({"correct": "yes" if same else "no", "score": 5 if same else 1})
        caption, question = (re.search(each, prompt)[1] for each in (r"<<<\n(.*)\n>>>", r"Question: (\w+)"))
        found = re.search(rf"\b{question}: (\w+)", caption)
        return found[1] if found else "not mentioned"


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever is killed or cut off says no goodbye."""


@contextlib.contextmanager
def running_judge() -> Iterator[Stub]:
    stub = Stub()
    server = _Server(("127.0.0.1", 0), _handler(stub))
    server.daemon_threads = True
    stub.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            with stub.lock:
                stub.running += 1
                stub.most_running = max(stub.most_running, stub.running)
            try:
                self._post()
            finally:
                with stub.lock:
                    stub.running -= 1

        def _post(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = body["messages"][-1]["content"]
            with stub.lock:
                stub.prompts.append(prompt)
                stub.bodies.append(body)
                stub.times.append(time.monotonic())
                stub.authorization.add(self.headers["Authorization"])
                fault = next((fault for words, fault in stub.always.items() if words in prompt), None)
                if fault is None and stub.faults:
                    fault = stub.faults.pop(0)
            time.sleep(stub.delay_s)
            if self.path != "/v1/chat/completions":
                fault = "404"
            if fault is not None and fault.isdigit():
                words = f"refused {fault} for {self.headers['Authorization']}"
                headers = {"Retry-After": stub.retry_after} if fault in ("429", "503") else {}
                self._send(int(fault), json.dumps({"error": {"message": words}}), headers)
            elif fault == "malformed":
                self._send(200, "<html>down for maintenance</html>", {})
            elif fault == "empty":
                self._send(200, "{}", {})
            elif fault == "cut":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
                self.close_connection = True
            elif fault == "torn":
                self.send_response(200)
                self.send_header("Content-Length", "5000")
                self.end_headers()
                self.wfile.write(b'{"choices": [{"mess')
                self.close_connection = True
            elif fault is not None and "max_tokens" in fault and "max_tokens" in body:
                self._send(400, json.dumps({"error": {"message": "use max_completion_tokens instead"}}), {})
            else:
                if fault == "slow":
                    time.sleep(stub.slow_s)
                self._complete(prompt)

        def _complete(self, prompt: str) -> None:
            usage = {"prompt_tokens": 100, "completion_tokens": 3, "total_tokens": 103}
            message = {"role": "assistant", "content": stub.reply(prompt)}
            content = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
            self._send(200, json.dumps({**content, "usage": usage} if stub.has_usage else content), {})

        def _send(self, status: int, text: str, headers: dict[str, str]) -> None:
            content = text.encode()
            with contextlib.suppress(OSError):  # whoever asked has gone
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

    return Handler
