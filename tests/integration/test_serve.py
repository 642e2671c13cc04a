"""`aurora serve` as a process, under load and abuse: bounded, on the loopback, with a tiny model."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from aurora_cli.demo.dataset import encode_video
from tests.captioners import make_runs
from tests.serving import CHAT, IMAGE, events_of, image_part, question, video_part
from tests.videos import write_video

pytest.importorskip("uvicorn", reason="starlette and uvicorn, of the extra `serve`, are not here")

pytestmark = pytest.mark.slow

KEY = "a-key-of-the-tests"
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    make_runs(root)
    (root / "scratch").mkdir()
    return root


class Server:
    """An `aurora serve` that runs."""

    def __init__(self, workspace: Path, *options: str) -> None:
        began = time.monotonic()
        command = [sys.executable, "-m", "aurora_cli", "serve", "runs/language", "--workspace", str(workspace)]
        command += ["--port", "0", "--api-key-env", "KEY", "--set", "caption.max_new_tokens=16", *options]
        environment = {**os.environ, "KEY": KEY, "OMP_NUM_THREADS": "1", "TMPDIR": str(workspace / "scratch")}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                self.port = int(found[1])
                break
        else:
            raise AssertionError("it ended")
        while self.ask("GET", "/health")[0] != 200:
            time.sleep(0.02)
        self.seconds = time.monotonic() - began

    def ask(self, method: str = "POST", path: str = CHAT, body: Any = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                method,
                path,
                body if body is None or isinstance(body, bytes) else json.dumps(body),
                {**HEADERS, **headers},
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()

    def gauge(self, name: str) -> int:
        text = self.ask("GET", "/metrics")[1].decode()
        found = re.search(rf"^aurora_{name} (\d+)$", text, re.MULTILINE)
        assert found is not None, text
        return int(found[1])

    def wait_until_idle(self) -> None:
        deadline = time.monotonic() + 20
        while self.gauge("requests_running") or self.gauge("requests_waiting"):
            assert time.monotonic() < deadline, "rows were not freed"
            time.sleep(0.05)

    @property
    def megabytes(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def served(workspace: Path, *options: str) -> Iterator[Server]:
    server = Server(workspace, *options)
    try:
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module")
def server(workspace: Path) -> Iterator[Server]:
    with served(workspace) as server:
        yield server


def test_of_200_requests_at_once_some_wait_and_the_others_are_refused(server):
    """Queue 32, 16 rows: whatever the pace, each gets its whole answer or 429."""
    server.ask(body=question())
    with ThreadPoolExecutor(200) as pool:
        answers = [*pool.map(lambda _: server.ask(body=question()), range(200))]
    counts = Counter(status for status, _ in answers)
    assert set(counts) == {200, 429}, counts
    assert counts[200] >= 48
    assert len({json.loads(body)["choices"][0]["message"]["content"] for status, body in answers if status == 200}) == 1
    server.wait_until_idle()


def test_slow_and_cut_connections_take_nothing_from_others(server):
    """Fifty send half a request, fifty go away in the middle of a stream; memory stays as it was."""
    server.ask(body=question())
    before = server.megabytes
    body = json.dumps(question(stream=True, max_tokens=400, stop=["never"])).encode()
    lines = (f"POST {CHAT} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {KEY}", f"Content-Length: {len(body)}")
    head = "\r\n".join([*lines, "", ""])
    left = server.gauge("clients_left_total")
    open_ones = []
    for number in range(100):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(head.encode() + (body[: len(body) // 2] if number % 2 else body))
        open_ones.append(connection)
    status, _ = server.ask(body=question())
    assert status in (200, 429)
    for connection in open_ones:
        connection.close()
    server.wait_until_idle()
    assert server.gauge("clients_left_total") > left
    assert server.ask(body=question())[0] == 200
    assert server.megabytes < before + 150


def test_bodies_of_100_mb_are_refused_and_memory_stays(server):
    server.ask(body=question())
    before = server.megabytes
    large = b"x" * 100_000_000
    with ThreadPoolExecutor(3) as pool:
        statuses = [status for status, _ in pool.map(lambda _: server.ask(body=large), range(3))]
    assert statuses == [413] * 3
    assert server.megabytes < before + 100


def test_bombs_and_cut_media_are_refused_and_memory_stays(server, tmp_path):
    """An image of 400 million pixels in 49 kB, a video of 52 million a frame; and what ends in the middle."""
    server.ask(body=question())
    before = server.megabytes
    flat = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(flat, "PNG")
    large = write_video(tmp_path / "a.mp4", [0], size=(8_192, 6_400)).read_bytes()
    small = encode_video([Image.new("RGB", (64, 64), (40 * number,) * 3) for number in range(6)])
    for part, words in (
        (image_part(flat.getvalue()), "50,000,000 pixels"),
        (video_part(flat.getvalue()), "not a readable video"),
        (video_part(large), "8,192 x 6,400 pixels"),
        (video_part(small[: len(small) // 2]), "not a readable video"),
        (image_part(IMAGE.read_bytes()[:900]), "not a readable image"),
    ):
        with ThreadPoolExecutor(4) as pool:
            for status, body in pool.map(lambda part: server.ask(body=question("x", part)), [part] * 4):
                assert (status, words in body.decode()) == (422, True), body
    assert server.ask(body=question("x", video_part(small)))[0] == 200
    assert server.megabytes < before + 150


def test_no_file_is_read_without_a_root_and_none_outside_of_it(server, workspace, tmp_path):
    for url in ("/etc/passwd", "file:///etc/passwd", "../../etc/passwd", "aurora.yaml"):
        assert server.ask(body=question("x", image_part(url=url)))[0] == 400
    (tmp_path / "root").mkdir()
    for name in ("root/in.png", "out.png"):
        (tmp_path / name).write_bytes(IMAGE.read_bytes())
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "out.png")
    with served(workspace, "--media-root", str(tmp_path / "root")) as rooted:
        for url, status in (
            ("in.png", 200),
            ("../out.png", 403),
            ("link.png", 403),
            ("file:///etc/passwd", 403),
            (f"file://{tmp_path}/root/%2e%2e/out.png", 403),
            ("no.png", 404),
        ):
            assert rooted.ask(body=question("x", image_part(url=url)))[0] == status, url


def test_wrong_keys_get_nothing(server):
    for key in ("", "Bearer", "Bearer x", f"Bearer {KEY}x", f"Basic {KEY}"):
        assert server.ask(body=question(), Authorization=key)[0] == 401


def test_a_stream_arrives_in_pieces_and_is_the_whole_answer(server):
    whole = json.loads(server.ask(body=question())[1])["choices"][0]["message"]["content"]
    chunks = events_of(server.ask(body=question(stream=True))[1])
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole


def test_a_killed_server_leaves_nothing_and_starts_again(workspace):
    """While 20 requests with videos run."""
    video = encode_video([Image.new("RGB", (64, 64), (40 * number,) * 3) for number in range(6)])
    before = sorted(path for path in workspace.rglob("*"))
    with served(workspace) as server, ThreadPoolExecutor(20) as pool:
        requests = [pool.submit(server.ask, body=question("x", video_part(video), max_tokens=300)) for _ in range(20)]
        while not server.gauge("requests_running") and not all(request.done() for request in requests):
            time.sleep(0.005)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(10)
        statuses = {request.result()[0] for request in requests}
    assert 0 in statuses
    assert sorted(path for path in workspace.rglob("*")) == before
    with served(workspace) as again:
        assert again.ask(body=question("x", video_part(video)))[0] == 200
        assert again.seconds < 2 * server.seconds + 2
        again.process.terminate()
        assert again.process.wait(10) == 0


def test_ctrl_c_lets_running_requests_end_and_refuses_new_ones(workspace):
    with served(workspace) as server, ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.ask, body=question(max_tokens=440, stream=True))
        while not server.gauge("requests_running") and not running.done():
            time.sleep(0.005)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        refused = server.ask(body=question())[0]
        status, body = running.result()
        assert (status, refused in (503, 0)) == (200, True), refused
        assert events_of(body)[-1]["choices"][0]["finish_reason"] in ("length", "stop")
        assert server.process.wait(10) == 0


def test_another_address_wants_a_key_and_a_root_must_be_there(workspace):
    for options, words in (
        (["--host", "0.0.0.0"], "--api-key-env"),
        (["--api-key-env", "NO_SUCH_VARIABLE"], "is not set"),
        (["--media-root", "nowhere"], "is no folder"),
    ):
        command = [
            sys.executable,
            "-m",
            "aurora_cli",
            "serve",
            "runs/language",
            "--workspace",
            str(workspace),
            *options,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
