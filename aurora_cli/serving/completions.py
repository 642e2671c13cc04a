"""`POST /v1/chat/completions`: OpenAI's answer, whole or as a stream of events."""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from aurora_cli.io.json_files import JsonObject
from aurora_cli.models.config import beyond_trained
from aurora_cli.serving.answer_text import AnswerText
from aurora_cli.serving.conversation import Conversations, PreparedRow
from aurora_cli.serving.engine import Engine, Job
from aurora_cli.serving.readers import Readers
from aurora_cli.serving.refusal import Refusal
from aurora_cli.serving.schema import ChatRequest, parse_request

Finish = Literal["stop", "length"]

WARNING = "Aurora-Warning"
MOST_WARNINGS = 100
"""In a server's log: clients choose the ratios."""

FRESH = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Headers of what changes from one request to the next."""


class Completions:
    """Answers requests with one engine."""

    def __init__(
        self,
        name: str,
        conversations: Conversations,
        engine: Engine,
        readers: Readers,
        warn: Callable[[str], None],
    ) -> None:
        self.name, self.conversations, self.engine, self.readers = name, conversations, engine, readers
        self._warn = warn
        self._warned: set[str] = set()

    async def answer(self, request: Request) -> Response:
        """
        Raises:
            Refusal: the request cannot be answered.
        """
        self.engine.check_open()
        chat = parse_request(_json(await request.body()))
        if chat.model is not None and chat.model != self.name:
            reason = f"model: {chat.model[:200]!r} is not served here; {self.name!r} is"
            raise Refusal(404, reason, param="model", code="model_not_found")
        if chat.stream and chat.return_token_ids:
            raise Refusal(400, "return_token_ids: is not served with stream: true", param="return_token_ids")
        began = time.monotonic()
        with self.engine.queued():
            row = await self.readers.call(lambda: self.conversations.prepare(chat))
            job = self.engine.submit(row)
        answer = _Answer(self, chat, job, row, began)
        headers = {**FRESH, **self._warning(row.options.merging.kept_ratio)}
        if chat.stream:
            return Streamed(answer.events(), partial(self.engine.leave, job), "text/event-stream", headers)
        body = await with_client(request.receive, answer.whole)
        return Response(body, media_type="application/json", headers=headers)

    def _warning(self, kept_ratio: float) -> dict[str, str]:
        """The header of an answer at a kept ratio beyond those of training. The server's log has it once a ratio."""
        warning = beyond_trained(kept_ratio, self.conversations.captioner.trained_ratios)
        if warning is None:
            return {}
        if warning not in self._warned and len(self._warned) < MOST_WARNINGS:
            self._warned.add(warning)
            self._warn(warning)
        return {WARNING: warning}


class Streamed(StreamingResponse):
    """Pieces of an answer; `leave` is called when it has ended, or the client has gone away."""

    def __init__(
        self, pieces: AsyncGenerator[bytes], leave: Callable[[], None], media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(pieces, media_type=media_type, headers=headers)
        self._pieces, self._leave = pieces, leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with contextlib.aclosing(self._pieces):
                await super().__call__(scope, receive, send)
        finally:
            self._leave()


class _Answer:
    """One request's answer."""

    def __init__(self, owner: Completions, chat: ChatRequest, job: Job, row: PreparedRow, began: float) -> None:
        self._owner, self._chat, self._job, self._row, self._began = owner, chat, job, row, began
        self._text = AnswerText(owner.conversations.captioner.text_of, chat.stop or [])
        self._finish: Finish = "stop"
        self._head: JsonObject = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": owner.name,
        }

    async def whole(self) -> bytes:
        async with contextlib.aclosing(self._pieces()) as pieces:
            async for _ in pieces:
                pass
        choice: JsonObject = {
            "index": 0,
            "message": {"role": "assistant", "content": self._text.text, "refusal": None},
            "logprobs": None,
            "finish_reason": self._finish,
        }
        if self._chat.return_token_ids:
            choice["token_ids"] = self._text.ids
        return _json_bytes({**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage()})

    async def events(self) -> AsyncGenerator[bytes]:
        """Server-sent events. What goes wrong in the middle is an event too, and the last one."""
        yield self._chunk({"role": "assistant", "content": ""}, None)
        try:
            async with contextlib.aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    yield self._chunk({"content": piece}, None)
        except Refusal as refusal:
            yield b"data: " + refusal.body() + b"\n\n"
            return
        yield self._chunk({}, self._finish)
        options = self._chat.stream_options
        if options is not None and options.include_usage:
            yield _event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self._usage()})
        yield b"data: [DONE]\n\n"

    async def _pieces(self) -> AsyncGenerator[str]:
        """Pieces of the text as they become certain. Left early, by a client that goes away too, the row is freed."""
        engine, metrics = self._owner.engine, self._owner.engine.metrics
        metrics.prompt_tokens += self._row.prompt_tokens
        metrics.visual_tokens += self._row.visual_tokens
        has_ended = False
        try:
            async with contextlib.aclosing(engine.written(self._job)) as written:
                async for _, token, ended in written:
                    if not self._text.ids:
                        metrics.first_token_seconds.add(time.monotonic() - self._began)
                    piece = "" if token is None else self._text.add(token)
                    has_ended = ended is not None or self._text.has_stopped
                    self._finish = "length" if ended == "length" and not self._text.has_stopped else "stop"
                    if has_ended:
                        piece += self._text.end()
                    if piece:
                        yield piece
                    if has_ended:
                        break
        except Refusal:
            has_ended = True
            raise
        finally:
            engine.leave(self._job)
            metrics.seconds.add(time.monotonic() - self._began)
            metrics.left += not has_ended

    def _chunk(self, delta: JsonObject, finish: Finish | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**self._head, "object": "chat.completion.chunk", "choices": [choice]})

    def _usage(self) -> JsonObject:
        prompt, new = self._row.prompt_tokens, len(self._text.ids)
        return {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}


async def with_client(receive: Receive, work: Callable[[], Awaitable[bytes]]) -> bytes:
    """What `work` gives, which is given up if the client goes away before.

    Raises:
        ConnectionAbortedError: it went.
    """

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work()), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ConnectionAbortedError("the client went away")
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
        del working  # it holds what it raised, that holds this frame, and this would hold it and the request


def _json(body: bytes) -> JsonObject:
    """
    Raises:
        Refusal: it is no JSON object.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the request is no JSON: {type(error).__name__}: {error}"[:300]) from error
    if not isinstance(content, dict):
        raise Refusal(400, "the request is no JSON object")
    return content


def json_response(content: JsonObject) -> Response:
    return Response(_json_bytes(content), media_type="application/json", headers=FRESH)


def _json_bytes(content: JsonObject) -> bytes:
    return json.dumps(content).encode()


def _event(content: JsonObject) -> bytes:
    return b"data: " + _json_bytes(content) + b"\n\n"
