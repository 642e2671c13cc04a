"""Using a page as a person does: headless Chromium, driven by its own debugging protocol."""

import base64
import contextlib
import itertools
import json
import os
import socket
import struct
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.browser import CHROMIUM, browser_environment


class Tab:
    """One page."""

    def __init__(self, url: str) -> None:
        where = urllib.parse.urlsplit(url)
        self._socket = socket.create_connection((where.hostname, where.port or 80), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._file = self._socket.makefile("rb")
        while self._file.readline().strip():
            pass
        self._numbers = itertools.count(1)
        self.console: list[str] = []
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer."""
        number = next(self._numbers)
        self._send(json.dumps({"id": number, "method": method, "params": params}).encode())
        while True:
            message = json.loads(self._receive())
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.console.append(json.dumps(message["params"]))

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 60.0) -> Any:
        """The expression's value once it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"still not: {script}\n{self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def choose_file(self, selector: str, path: Path) -> None:
        """What a person does in the file dialogue of an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _send(self, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            length = bytes([0x80 | size])
        elif size < 1 << 16:
            length = bytes([0xFE]) + struct.pack(">H", size)
        else:
            length = bytes([0xFF]) + struct.pack(">Q", size)
        self._socket.sendall(b"\x81" + length + bytes(4) + payload)  # a mask of zeros changes nothing

    def _receive(self) -> bytes:
        whole = b""
        while True:
            first, second = self._file.read(2)
            size = second & 0x7F
            if size >= 126:
                size = struct.unpack(">H" if size == 126 else ">Q", self._file.read(2 if size == 126 else 8))[0]
            whole += self._file.read(size)
            if first & 0x80:
                return whole


@contextlib.contextmanager
def open_page(url: str, folder: Path) -> Iterator[Tab]:
    """Chromium on `url`; its profile lies in `folder`."""
    assert CHROMIUM is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    profile = folder / "profile"
    options += [f"--user-data-dir={profile}", "--remote-debugging-port=0", "--window-size=1180,900"]
    with browser_environment() as environment:
        process = subprocess.Popen(
            [
                CHROMIUM,
                *options,
                f"--user-data-dir={profile}",
                "--remote-debugging-port=0",
                "--window-size=1180,900",
                url,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        try:
            port = _port(profile / "DevToolsActivePort", process)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
                pages = [each for each in json.load(answer) if each["type"] == "page"]
            tab = Tab(pages[0]["webSocketDebuggerUrl"])
            try:
                tab.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
                yield tab
            finally:
                tab.close()
        finally:
            process.terminate()
            process.wait(30)


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + 60
    while not (file.is_file() and file.read_text().count("\n")):
        assert process.poll() is None, "Chromium ended"
        assert time.monotonic() < end, "Chromium did not start"
        time.sleep(0.05)
    return int(file.read_text().split()[0])
