"""What the page asks: itself, the facts about the model, and a caption in lines of JSON.

GET  /             the page
GET  /model.json   what the page shows of the model: its name, tokens of a frame by kept ratio
POST /caption      the medium as the body; in the query name, ratio, slowfast, prompt, and of max_new_tokens,
                   temperature, top_p, seed and frames what is not the command's own; lines of JSON come back:
                   {"text": piece of the caption} as it is made, then {"done": ...} or {"error": ...}
"""

import contextlib
import json
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from aurora_cli.captioning.generation import generate
from aurora_cli.captioning.prompts import Prompt
from aurora_cli.captioning.result import Caption
from aurora_cli.data.media.animations import is_animation
from aurora_cli.errors import AuroraError
from aurora_cli.serving.answer_text import AnswerText
from aurora_cli.serving.completions import FRESH, Completions, Streamed
from aurora_cli.serving.conversation import PreparedRow
from aurora_cli.serving.engine import Job
from aurora_cli.serving.media import HeldMedium
from aurora_cli.serving.page import DECODING, Page, Question, checked_kind
from aurora_cli.serving.refusal import Refusal, refusal_of

_POLICY = (
    "default-src 'none'; img-src blob: data:; media-src blob:; connect-src 'self'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'"
)
_HEADERS = {**FRESH, "Content-Security-Policy": _POLICY}


class PageRoutes:
    """The page, which captions with the engine that all requests share."""

    def __init__(self, page: Page, completions: Completions) -> None:
        self.page, self._completions = page, completions
        self._engine, self._conversations = completions.engine, completions.conversations

    async def html(self, request: Request) -> Response:
        return Response(self.page.html, media_type="text/html", headers=_HEADERS)

    async def facts(self, request: Request) -> Response:
        return Response(_line(self.page.facts()), media_type="application/json", headers=_HEADERS)

    async def caption(self, request: Request) -> Response:
        """
        Raises:
            Refusal: the medium cannot be read, or an option is out of its range.
        """
        question = _question(request.query_params)
        kind = checked_kind(question.name)
        content = await request.body()
        if not content:
            raise Refusal(400, "it is empty")
        began = time.monotonic()
        try:
            options = self.page.options(question)
            with self._engine.queued():
                kind = "video" if is_animation(content, question.name) else kind
                medium = HeldMedium(question.name, kind, content)
                row = await self._completions.readers.call(lambda: self._conversations.prepare_medium(medium, options))
                job = self._engine.submit(row) if options.decoding.num_beams == 1 else None
        except AuroraError as error:
            raise refusal_of(error) from error
        lines = self._lines(medium, row, job, began)
        return Streamed(lines, partial(self._engine.leave, job), "application/x-ndjson", _HEADERS)

    async def _lines(
        self, medium: HeldMedium, row: PreparedRow, job: Job | None, began: float
    ) -> AsyncGenerator[bytes]:
        captioner = self.page.captioner
        answer = AnswerText(captioner.text_of, [])
        written_at: list[float] = []
        try:
            async with contextlib.aclosing(self._pieces(answer, row, job, medium)) as pieces:
                async for piece in pieces:
                    written_at.append(time.monotonic())
                    yield _line({"text": piece})
            ended = time.monotonic()
            regions = await self._engine.call(lambda: self.page.regions(row.frames_F3SS, row.options))
        except Refusal as refusal:
            yield _line({"error": refusal.reason})
            return
        self.page.captions += 1
        frames = row.media_lengths[0]
        visual = captioner.visual_tokens(frames, row.options.merging)
        caption = Caption(
            media=medium.name,
            kind=medium.kind,
            caption=answer.text,
            frames=frames,
            visual_tokens=visual,
            prompt_tokens=row.prompt_tokens - visual,
            new_tokens=len(answer.ids),
            seconds=round(ended - began, 3),
        )
        until_first = (written_at[0] if written_at else ended) - began
        per_token = (ended - began - until_first) / max(1, len(answer.ids) - 1)
        timing = {"first_token_s": round(until_first, 4), "per_token_s": round(per_token, 5)}
        yield _line({"done": {**asdict(caption), **timing, "regions": regions}})

    async def _pieces(
        self, answer: AnswerText, row: PreparedRow, job: Job | None, medium: HeldMedium
    ) -> AsyncGenerator[str]:
        """Pieces of the text; of a beam search all of it, for beams are decided at their ends."""
        if job is None:
            answer.ids = await self._engine.call(partial(self._by_beams, row, medium.name))
        else:
            async with contextlib.aclosing(self._engine.written(job)) as written:
                async for _, token, _ in written:
                    if token is not None and (piece := answer.add(token)):
                        yield piece
        if rest := answer.end():
            yield rest

    def _by_beams(self, row: PreparedRow, name: str) -> list[int]:
        captioner = self.page.captioner
        prompt = Prompt(row.prompt, row.frames_F3SS, row.options.merging, row.media_lengths)
        (ids,) = generate(
            captioner.model, [prompt], row.options, names=[name], end_ids=row.end_ids, never=captioner.never
        )
        return ids


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _question(query: Mapping[str, str]) -> Question:
    """
    Raises:
        Refusal: the kept ratio, or another number, is none.
    """
    try:
        ratio = float(query.get("ratio", "1"))
    except ValueError:
        ratio = 0.0
    if not 0.0 < ratio <= 1.0:
        raise Refusal(400, f"ratio: {query.get('ratio')}; above 0 and at most 1 was expected")
    name, slowfast = Path(query.get("name", "")).name, query.get("slowfast") == "1"
    return Question(name, ratio, slowfast, query.get("prompt", ""), tuple(_decoding(query)))


def _decoding(query: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name, read in DECODING.items():
        if text := query.get(name):
            try:
                yield name, read(text)
            except ValueError as error:
                raise Refusal(400, f"{name}: {text}; a number was expected") from error
