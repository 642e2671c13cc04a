"""The whole server as one ASGI app: its routes, behind the guard.

GET  /health               200 while requests are taken; 503 when the server ends
GET  /metrics              for Prometheus
GET  /v1/models            the one model
POST /v1/chat/completions  OpenAI's
GET  /                     the page, and what it asks (page_routes)
"""

import os
import time
from collections.abc import Callable
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from aurora_cli.captioning.captioner import Captioner
from aurora_cli.io.json_files import JsonObject
from aurora_cli.serving.completions import FRESH, Completions, json_response
from aurora_cli.serving.conversation import Conversations
from aurora_cli.serving.engine import Engine, EngineLimits
from aurora_cli.serving.guard import Guard, GuardRules
from aurora_cli.serving.media import MediaLimits
from aurora_cli.serving.metrics import CONTENT_TYPE, Metrics
from aurora_cli.serving.page import Page
from aurora_cli.serving.page_routes import PageRoutes
from aurora_cli.serving.readers import Readers
from aurora_cli.serving.refusal import Refusal

READERS = 4
"""Threads that decode media, at most."""


class ServiceLimits(NamedTuple):
    """All that bounds a service."""

    engine: EngineLimits = EngineLimits()
    media: MediaLimits = MediaLimits()
    rules: GuardRules = GuardRules()


class Service:
    """One captioner, served. `close` ends its threads."""

    def __init__(
        self,
        name: str,
        captioner: Captioner,
        limits: ServiceLimits,
        on_bug: Callable[[Exception], None] = lambda _: None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_bug` is given what no request should cause; `warn` what whoever serves should know of requests."""
        self.name, self.captioner = name, captioner
        self.metrics = Metrics()
        self.engine = Engine(captioner, limits.engine, self.metrics)
        self.page = Page(name, captioner, limits.rules.max_upload)
        self._began = int(time.time())
        self._readers = Readers(min(READERS, os.cpu_count() or 1))
        completions = Completions(name, Conversations(captioner, limits.media), self.engine, self._readers, warn)
        page = PageRoutes(self.page, completions)
        routes = [
            Route("/health", self._health),
            Route("/metrics", self._metrics),
            Route("/v1/models", self._models),
            Route("/v1/models/{model:path}", self._model),
            Route("/v1/chat/completions", completions.answer, methods=["POST"]),
            Route("/", page.html),
            Route("/model.json", page.facts),
            Route("/caption", page.caption, methods=["POST"]),
        ]
        self._router = Router(routes, default=_nowhere)
        self.app = Guard(self._route, limits.rules, self.metrics, on_bug)

    def close(self) -> None:
        self.engine.close()
        self._readers.close()

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # of the wrong method starlette raises then, instead of answering in words of its own
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            status = error.status_code if scope["path"].startswith("/v1/") else 404
            raise Refusal(status, f"{scope['path'][:80]}: there is nothing here for {scope['method']}") from error

    async def _health(self, request: Request) -> Response:
        self.engine.check_open()
        return json_response({"status": "ok"})

    async def _metrics(self, request: Request) -> Response:
        gauges = {"requests_waiting": self.engine.waiting, "requests_running": self.engine.running}
        return Response(self.metrics.text(gauges), media_type=CONTENT_TYPE, headers=FRESH)

    async def _models(self, request: Request) -> Response:
        return json_response({"object": "list", "data": [self._about()]})

    async def _model(self, request: Request) -> Response:
        if request.path_params["model"] != self.name:
            raise Refusal(404, f"model: {self.name!r} is served here", param="model", code="model_not_found")
        return json_response(self._about())

    def _about(self) -> JsonObject:
        return {
            "id": self.name,
            "object": "model",
            "created": self._began,
            "owned_by": "aurora",
            "max_model_len": self.captioner.positions.limit,
            "dtype": self.captioner.dtype,
            "token_kept_ratio": self.captioner.options.merging.kept_ratio,
            "trained_ratios": [*self.captioner.trained_ratios],
        }


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    raise Refusal(404, f"{scope['path'][:80]}: there is nothing here")
