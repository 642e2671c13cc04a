"""One request asked of `vllm serve` with the plugin and of `aurora serve`, over HTTP: both write the same ids.

Skips itself where vLLM is not installed; `make serve-check` installs it.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.serve_check.captions import NEW_TOKENS, Media, Served, chat_about, ids_of_caption

# Not imported: it sets variables of this process.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make serve-check"),
]

IMAGES, VIDEOS = 20, 10
RATIOS = (0.5, 0.1)
BEGINS_S = 300
VLLM = (
    "--served-model-name", "it", "--trust-request-mm-kwargs", "--dtype", "float32", "--max-model-len", "1024",
    "--enforce-eager",
)  # fmt: skip


class Servers(NamedTuple):
    """Addresses of two servers of one export."""

    vllm: str
    aurora: str


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[str]:
    """The address of a server, which answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    with (
        log.open("w") as output,
        subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as child,
    ):
        try:
            deadline = time.monotonic() + BEGINS_S
            while not answers(f"{address}/health"):
                assert child.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.5)
            yield f"{address}/v1/chat/completions"
        finally:
            child.terminate()


def answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status == 200
    return False


@pytest.fixture(scope="module")
def servers(plain: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    logs = tmp_path_factory.mktemp("logs")
    vllm = [str(Path(sys.executable).with_name("vllm")), "serve", str(plain.export), *VLLM]
    aurora = [sys.executable, "-m", "aurora_cli", "serve", str(plain.export)]
    with running(vllm, logs / "vllm") as first, running(aurora, logs / "aurora") as second:
        yield Servers(first, second)


def ask(url: str, chat: list[Any], **more: object) -> tuple[int, dict[str, Any]]:
    body = {"messages": chat, "temperature": 0, "max_tokens": NEW_TOKENS, "return_token_ids": True, **more}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def ids_of(answer: dict[str, Any], end: list[int]) -> list[int]:
    """The new ids; vLLM's hold what ended the answer."""
    (choice,) = answer["choices"]
    return choice["token_ids"][: -1 if choice["token_ids"][-1:] and choice["token_ids"][-1] in end else None]


def test_the_same_request_gets_the_same_ids_of_both_and_of_caption(
    servers: Servers, plain: Served, media: Media
) -> None:
    captioner = plain.captioner
    paths, ends = [*media.images[:IMAGES], *media.videos[:VIDEOS]], captioner.prompter.end_ids
    for ratio in RATIOS:
        expected = ids_of_caption(captioner, paths, ratio)
        for path, right in zip(paths, expected, strict=True):
            request = {"chat": chat_about(captioner, path), "mm_processor_kwargs": {"token_kept_ratio": ratio}}
            (status, theirs), (own_status, ours) = ask(servers.vllm, **request), ask(servers.aurora, **request)
            assert (status, own_status) == (200, 200), (theirs, ours)
            assert ids_of(theirs, ends) == ids_of(ours, ends) == right, (path, ratio)
            assert theirs["usage"]["prompt_tokens"] == ours["usage"]["prompt_tokens"]
        assert len(set(map(tuple, expected))) > len(paths) // 2  # what is compared, media decide


def test_slow_fast_and_frames_of_a_video_mean_the_same_to_both(servers: Servers, plain: Served, media: Media) -> None:
    captioner, paths = plain.captioner, media.videos[:VIDEOS]
    expected = ids_of_caption(captioner, paths, 0.5, True, frames=4)
    for path, right in zip(paths, expected, strict=True):
        options = {"token_kept_ratio": 0.5, "slowfast": True, "frames": 4}
        for url in servers:
            status, answer = ask(url, chat_about(captioner, path), mm_processor_kwargs=options)
            assert (status, ids_of(answer, captioner.prompter.end_ids)) == (200, right), (url, path, answer)


def test_a_ratio_that_the_tower_cannot_come_down_to_is_refused_by_both(
    servers: Servers, plain: Served, media: Media
) -> None:
    chat = chat_about(plain.captioner, media.images[0])
    for url in servers:
        status, answer = ask(url, chat, mm_processor_kwargs={"token_kept_ratio": 0.01})
        assert status == 400
        assert "kept ratio 0.01, " in json.dumps(answer)
        assert ask(url, chat)[0] == 200
