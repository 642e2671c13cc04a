"""Clients that send or take too slowly are left, and what they held is free again."""

import asyncio
import json
from typing import Any

import pytest

from aurora_cli.serving import guard
from aurora_cli.serving.guard import Guard, GuardRules
from aurora_cli.serving.metrics import Metrics
from tests.serving import CHAT

SCOPE = {"type": "http", "method": "POST", "path": CHAT, "headers": [(b"host", b"127.0.0.1:8000")]}
SECONDS = 0.05


async def for_ever() -> None:
    await asyncio.Event().wait()


def guarded(app: Any) -> Guard:
    def on_bug(error: Exception) -> None:
        raise error

    return Guard(app, GuardRules(), Metrics(), on_bug)


async def never_asked(*_: object) -> None:
    raise AssertionError("a request that is not whole reached the app")


def test_a_body_that_stops_coming_is_answered_408_and_kept_no_longer(monkeypatch):
    monkeypatch.setattr(guard, "BODY_S", SECONDS)
    pieces, sent = [{"type": "http.request", "body": b"half", "more_body": True}], []

    async def receive() -> dict[str, Any]:
        if not pieces:
            await for_ever()
        return pieces.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    server = guarded(never_asked)
    asyncio.run(server(SCOPE, receive, send))
    assert sent[0]["status"] == 408
    assert "did not come" in json.loads(sent[1]["body"])["error"]["message"]
    assert server._held == 0


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_client_that_takes_no_more_of_an_answer_is_left(monkeypatch, taken):
    monkeypatch.setattr(guard, "SEND_S", SECONDS)
    closed, sent = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"word", "more_body": True})
        finally:
            closed.append(True)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        if len(sent) == taken:
            await for_ever()
        sent.append(message)

    server = guarded(app)
    asyncio.run(server(SCOPE, receive, send))
    assert (closed, len(sent), server._held) == ([True], taken, 0)
    assert server.metrics.answers == {(CHAT, 200): 1}
