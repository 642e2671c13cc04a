"""What every request passes before it is answered: who may come, how much may be sent, and how slowly.

It stands around the whole app, and speaks ASGI itself.
"""

import asyncio
import base64
import binascii
import contextlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aurora_cli.serving.metrics import Metrics
from aurora_cli.serving.refusal import Header, Refusal

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""As `Host` has it."""
BODY_S = 60.0
"""A request's body comes within so many seconds."""

SEND_S = 60.0
"""A client takes a piece of an answer within so many seconds."""

LINGER_S = 10.0
"""A body that is too large is read so long and dropped, for many clients read no answer before they have sent all."""

BODIES = 4
"""As many of the largest bodies are held at a time."""

LEFT = 499
"""Noted where a client went away before there was an answer, as nginx does."""

OPEN_PATHS = frozenset({"/health"})
"""Answered without a key."""

KNOWN_PATHS = frozenset({"/", "/caption", "/health", "/metrics", "/model.json", "/v1/chat/completions", "/v1/models"})


@dataclass(frozen=True)
class GuardRules:
    """Who may come and what may be sent."""

    api_key: str | None = None
    max_body: int = 64 << 20
    max_upload: int = 200_000_000
    """Of the page's media."""
    loopback_only: bool = True
    """Served on this machine: any other name in `Host` is somebody else's that points here."""


class Guard:
    """An app behind its rules."""

    def __init__(self, app: ASGIApp, rules: GuardRules, metrics: Metrics, on_bug: Callable[[Exception], None]) -> None:
        self.app, self.rules, self.metrics, self._on_bug = app, rules, metrics, on_bug
        self._held = 0
        """Bytes of bodies that are being read or answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = _Answer(send)
        try:
            await self._answer(scope, receive, answer)
        except Refusal as refusal:
            await _refuse(refusal, answer, scope["path"])
        except (ConnectionError, TimeoutError):
            answer.status = answer.status or LEFT
        except Exception as error:  # a bug in one request must not take the server away
            self._on_bug(error)
            await _refuse(Refusal(500, f"the server failed: {type(error).__name__}"), answer, scope["path"])
        finally:
            path = scope["path"] if scope["path"] in KNOWN_PATHS else "other"
            self.metrics.answers[path, answer.status] += 1

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_caller(headers)
        self._check_key(scope["path"], headers)
        if scope["method"] != "POST":
            await self.app(scope, receive, answer)
            return
        limit = self.rules.max_upload if scope["path"] == "/caption" else self.rules.max_body
        body = await self._read(headers, receive, limit)
        try:
            await self.app(scope, _once(body, receive), answer)
        finally:
            self._held -= len(body)

    def _check_caller(self, headers: dict[str, str]) -> None:
        """A page of somebody else, or a name that somebody else points to this machine, gets nothing."""
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self.rules.loopback_only and name not in LOOPBACK:
            raise Refusal(403, f"Host: {host[:80]!r} is not this machine; only its own page may ask")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Refusal(403, "Origin: is another page's; only this server's own page may ask")

    def _check_key(self, path: str, headers: dict[str, str]) -> None:
        key = self.rules.api_key
        if key is None or path in OPEN_PATHS:
            return
        given = _key_in(headers.get("authorization", ""))
        if not sum(hmac.compare_digest(given, form) for form in _forms(key)):  # all of them, which takes the same time
            is_api = path.startswith("/v1/") or path == "/metrics"  # of a page the browser asks the user
            challenge = Header("WWW-Authenticate", "Bearer" if is_api else 'Basic realm="aurora", charset="UTF-8"')
            reason = "a key is wanted: Authorization: Bearer KEY"
            raise Refusal(401, reason, code="invalid_api_key", headers=(challenge,))

    async def _read(self, headers: dict[str, str], receive: Receive, limit: int) -> bytes:
        """The whole body, held and counted."""
        stated = headers.get("content-length")
        if stated is not None and stated.isdigit() and int(stated) > limit:
            await _drop(receive)
            raise _too_large(limit)
        body = bytearray()
        deadline = time.monotonic() + BODY_S
        try:
            while True:
                message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
                if message["type"] == "http.disconnect":
                    raise ConnectionError("the sender went away")
                piece = message.get("body", b"")
                body += piece
                self._held += len(piece)
                is_last = not message.get("more_body", False)
                if len(body) > limit:
                    await _drop(receive, is_last=is_last)
                    raise _too_large(limit)
                if self._held > BODIES * max(limit, self.rules.max_body):
                    await _drop(receive, is_last=is_last)
                    retry = Header("Retry-After", "1")
                    raise Refusal(429, "too much is being sent at once; try again in a moment", headers=(retry,))
                if is_last:
                    return bytes(body)
        except TimeoutError as error:
            self._held -= len(body)
            raise Refusal(408, f"the request did not come within {BODY_S:.0f} s") from error
        except BaseException:
            self._held -= len(body)
            raise


class _Answer:
    """Sends an answer, and notes its status. A client that takes nothing for long is left."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await asyncio.wait_for(self._send(message), SEND_S)


def _key_in(authorization: str) -> bytes:
    """The key of a client, or of a browser's user: what follows the colon of `Basic`."""
    kind, _, rest = authorization.partition(" ")
    if kind.lower() == "basic":
        with contextlib.suppress(binascii.Error, ValueError):
            return base64.b64decode(rest, validate=True).partition(b":")[2]
    return rest.strip().encode("latin-1") if kind.lower() == "bearer" else b""


def _forms(key: str) -> list[bytes]:
    """The key as clients write it: curl as the terminal does, Python's in Latin-1."""
    forms = [key.encode(errors="surrogateescape")]
    with contextlib.suppress(UnicodeEncodeError):
        forms.append(key.encode("latin-1"))
    return forms


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the request has too many bytes; at most {limit:,} are taken")


def _once(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the whole body first."""
    given = False

    async def receive_whole() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return receive_whole


async def _drop(receive: Receive, *, is_last: bool = False) -> None:
    """Read on for a while, if there is more, and keep nothing."""
    if is_last:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                pass


async def _refuse(refusal: Refusal, answer: _Answer, path: str) -> None:
    if answer.status:  # it had begun, and breaks off
        return
    content = refusal.body(plain=not path.startswith("/v1/"))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"x-content-type-options", b"nosniff"),
        *((name.lower().encode(), value.encode()) for name, value in refusal.headers),
    ]
    with contextlib.suppress(ConnectionError, TimeoutError):
        await answer({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await answer({"type": "http.response.body", "body": content})
