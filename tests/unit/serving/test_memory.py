"""What was sent is gone when it is answered: also where the answer is a refusal, of which Python keeps the frames."""

import asyncio
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.decoding import DecodingBatch, NewRow
from aurora_cli.serving.app import ServiceLimits
from aurora_cli.serving.conversation import Conversations
from aurora_cli.serving.engine import Engine
from aurora_cli.serving.media import MediaLimits
from aurora_cli.serving.schema import parse_request
from tests.circles import circles_of
from tests.serving import CHAT, URL, image_part, question, service_of


@pytest.fixture(scope="module")
def rooted(captioner, tmp_path_factory) -> Iterator[TestClient]:
    service = service_of(captioner, ServiceLimits(media=MediaLimits(tmp_path_factory.mktemp("root"))))
    yield TestClient(service.app, base_url=URL)
    service.close()


def statuses_of(client: TestClient, request: dict[str, Any], statuses: list[int]) -> None:
    statuses.append(client.post(CHAT, json=request).status_code)


@pytest.mark.parametrize(("part", "status"), [
    (image_part(b"no image"), 422),
    (image_part(url="missing.png"), 404),
    (image_part(url="../outside.png"), 403),
])  # fmt: skip
def test_a_refused_medium_is_not_kept(rooted, part, status):
    statuses: list[int] = []
    assert circles_of(lambda: statuses_of(rooted, question("What is it?", part), statuses)) == set()
    assert statuses == [status]


def test_a_request_that_the_model_fails_is_not_kept(captioner, monkeypatch):
    def fail(*_: object) -> None:
        raise MemoryError

    service = service_of(captioner)
    monkeypatch.setattr(DecodingBatch, "admit", fail)
    client, statuses = TestClient(service.app, base_url=URL), list[int]()
    assert circles_of(lambda: statuses_of(client, question(), statuses)) == set()
    assert statuses == [503]
    service.close()


def test_what_the_model_was_asked_for_is_not_kept_until_the_next_request(captioner):
    """The page asks for how merging leaves a frame, with all frames."""
    service = service_of(captioner)
    frames = torch.zeros(2)
    held = weakref.ref(frames)
    assert asyncio.run(service.engine.call(partial(len, frames))) == 2
    del frames
    deadline = time.monotonic() + 10
    while held() is not None and time.monotonic() < deadline:
        time.sleep(0.01)  # the engine's thread is about to wait
    assert held() is None
    service.close()


STUCK = """
import asyncio, threading, time
from aurora_cli.serving.readers import Readers

async def main():
    readers, begun = Readers(1), threading.Event()
    stuck = asyncio.ensure_future(readers.call(lambda: (begun.set(), time.sleep(600))))
    await asyncio.to_thread(begun.wait)
    readers.close()

asyncio.run(main())
"""


def test_a_process_ends_while_a_reader_waits_for_the_network():
    subprocess.run([sys.executable, "-c", STUCK], check=True, timeout=60)


def test_rows_that_fail_together_are_tried_alone_when_the_attempt_is_gone(captioner, monkeypatch):
    """On a GPU its frames hold activations, and each row alone would fail for want of the memory that they take."""

    class Activations:
        pass

    admit = DecodingBatch.admit
    attempts: list[tuple[int, weakref.ref[Activations]]] = []

    def admit_one(batch: DecodingBatch, rows: list[NewRow]) -> None:
        assert all(held() is None for _, held in attempts)
        held = Activations()
        attempts.append((len(rows), weakref.ref(held)))
        if len(rows) > 1:
            raise MemoryError
        admit(batch, rows)

    monkeypatch.setattr(DecodingBatch, "admit", admit_one)
    service = service_of(captioner)
    assert asyncio.run(ends_of_rows_that_join_together(service.engine, captioner, 3)) == ["length"] * 3
    service.close()
    assert [count for count, _ in attempts] == [3, 1, 1, 1]


async def ends_of_rows_that_join_together(engine: Engine, captioner: Captioner, count: int) -> list[str | None]:
    row = Conversations(captioner, MediaLimits()).prepare(parse_request(question()))
    begun, submitted = threading.Event(), threading.Event()

    def wait_for_all() -> None:
        begun.set()
        submitted.wait()

    waiting = asyncio.ensure_future(engine.call(wait_for_all))
    await asyncio.to_thread(begun.wait)
    jobs = [engine.submit(row) for _ in range(count)]
    submitted.set()
    await waiting
    return [[each.ended async for each in engine.written(job)][-1] for job in jobs]
