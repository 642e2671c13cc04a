"""The one thread that the model runs in: rows of all requests are decoded together, and join and leave at any step.

A request first takes a place in the queue, while its media are read; a full queue refuses it. Rows join in the order of
their requests, as many as the batch has room for, counted in tokens: those of the prompt and those that may be written.
"""

import asyncio
import contextlib
import itertools
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, cast

from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.decoding import DecodingBatch, NewRow, Written
from aurora_cli.errors import is_out_of_memory
from aurora_cli.serving.conversation import PreparedRow
from aurora_cli.serving.metrics import Metrics
from aurora_cli.serving.readers import run_into
from aurora_cli.serving.refusal import Header, Refusal

RETRY_AFTER_S = 1
"""What clients are advised to wait where the queue is full."""


class EngineLimits(NamedTuple):
    """How much is done, and how much waits."""

    queue: int = 32
    """Requests that wait, those whose media are being read among them."""
    tokens: int = 32_768
    """Of all rows together, those that may still be written among them; a row alone may have more."""
    rows: int = 16


class Job:
    """A row that was handed in, and what is written into it."""

    def __init__(self, key: int, row: PreparedRow) -> None:
        self.key, self.row = key, row
        self.loop = asyncio.get_running_loop()
        self.events: asyncio.Queue[Written | Refusal] = asyncio.Queue()

    @property
    def tokens(self) -> int:
        """That it may come to."""
        return self.row.prompt_tokens + self.row.options.decoding.max_new_tokens


class Engine:
    """A captioner at work for many requests at once."""

    def __init__(self, captioner: Captioner, limits: EngineLimits, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics
        self.is_draining = False
        self._captioner = captioner
        self._batch = self._new_batch()
        self._keys = itertools.count()
        self._changed = threading.Condition()
        self._reading = 0
        self._waiting: deque[Job] = deque()
        self._running: dict[int, Job] = {}
        self._cancelled: set[int] = set()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="aurora-engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._reading + len(self._waiting)

    @property
    def running(self) -> int:
        """Rows in the batch."""
        return len(self._running)

    @property
    def is_idle(self) -> bool:
        return not (self.waiting or self._running or self._calls)

    def drain(self) -> None:
        """From now on requests are refused; those that were taken are answered."""
        self.is_draining = True

    def close(self) -> None:
        """The thread ends behind its present step; whoever still waits is refused."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout=60)

    @contextlib.contextmanager
    def queued(self) -> Iterator[None]:
        """A place in the queue, for as long as a request's media are read.

        Raises:
            Refusal: there is none, or the server ends.
        """
        self.check_open()
        with self._changed:
            if self.waiting >= self.limits.queue:
                retry = Header("Retry-After", str(RETRY_AFTER_S))
                reason = f"{self.limits.queue} requests wait already (--queue); try again in a moment"
                raise Refusal(429, reason, code="queue_full", headers=(retry,))
            self._reading += 1
        try:
            yield
        finally:
            with self._changed:
                self._reading -= 1

    def check_open(self) -> None:
        """
        Raises:
            Refusal: the server ends.
        """
        if self.is_draining or not self._thread.is_alive():
            raise Refusal(503, "the server is ending", code="ending", headers=(Header("Retry-After", "5"),))

    def submit(self, row: PreparedRow) -> Job:
        """Hand in a row, within `queued`. Whoever does so must `written` it to its end, or `leave` it."""
        job = Job(next(self._keys), row)
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()
        return job

    async def written(self, job: Job) -> AsyncGenerator[Written]:
        """What is written into a row, to its end.

        Raises:
            Refusal: it could not be written to its end.
        """
        while True:
            event = await job.events.get()
            if isinstance(event, Refusal):
                try:
                    raise event
                finally:
                    del event  # or it and this frame hold each other, and the request
            yield event
            if event.ended is not None:
                return

    def leave(self, job: Job | None) -> None:
        """Nobody waits for it any more; of one that has ended nothing is left to free."""
        if job is None:
            return
        with self._changed:
            if job.key in self._running:
                self._cancelled.add(job.key)
                self._changed.notify()
            elif job in self._waiting:
                self._waiting.remove(job)

    async def call(self, work: Callable[[], Any]) -> Any:
        """What `work` returns, which runs alone in the model's thread between two steps."""
        return await asyncio.wrap_future(self._handed_in(work))

    def _handed_in(self, work: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        with self._changed:
            self._calls.append((work, future))
            self._changed.notify()
        return future

    def _new_batch(self) -> DecodingBatch:
        return DecodingBatch(self._captioner.model, never=self._captioner.never)

    def _work(self) -> None:
        while self._turn():
            pass
        ending = Refusal(503, "the server is ending", code="ending")
        _deliver([(job, ending) for job in [*self._waiting, *self._running.values()]])
        for _, future in self._calls:
            future.cancel()

    def _turn(self) -> bool:
        """Wait for something to do, and do it; False: the end. What it took is not held while the next one waits."""
        with self._changed:
            while not (self._closing or self._waiting or self._running or self._calls):
                self._changed.wait()
            if self._closing:
                return False
            cancelled, self._cancelled = self._cancelled, set()
            for key in cancelled:
                self._running.pop(key, None)
            calls = [*self._calls]
            self._calls.clear()
            joining = self._next_rows()
        for work, future in calls:
            run_into(work, future)
        self._step(cancelled, joining)
        return True

    def _next_rows(self) -> list[Job]:
        """Those at the head of the queue that the batch has room for."""
        joining: list[Job] = []
        tokens = sum(job.tokens for job in self._running.values())
        while self._waiting and len(self._running) < self.limits.rows:
            job = self._waiting[0]
            tokens += job.tokens
            if tokens > self.limits.tokens and self._running:
                break
            self._running[job.key] = job
            joining.append(self._waiting.popleft())
        return joining

    def _step(self, cancelled: set[int], joining: list[Job]) -> None:
        """Whatever goes wrong with the model ends the rows that it was about, not the server."""
        try:
            if cancelled:
                self._batch.remove(cancelled)
            self._admit(joining)
            written = self._batch.step() if len(self._batch) or joining else []
        except Exception as error:  # a bug in one batch must not take the server away
            self._fail([*self._running.values()], error)
            self._batch = self._new_batch()
            return
        events: list[tuple[Job, Written | Refusal]] = []
        with self._changed:
            for each in written:
                job = self._running.get(cast("int", each.key))  # ours are numbers
                if job is not None:
                    events.append((job, each))
                    if each.ended is not None:
                        del self._running[job.key]
        self.metrics.new_tokens += sum(each.id is not None for each in written)
        _deliver(events)

    def _admit(self, jobs: list[Job]) -> None:
        """A row that cannot join, for want of memory say, fails; where several join at once each is tried alone."""
        try:
            if jobs:
                self._batch.admit([_row(job) for job in jobs])
            return
        except Exception as error:
            self._batch.remove({job.key for job in jobs})
            if len(jobs) == 1:
                self._fail(jobs, error)
                return
        for job in jobs:  # behind the error, which holds whatever the attempt had in memory
            self._admit([job])

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        if is_out_of_memory(error):
            refusal = Refusal(503, "memory does not suffice for this request", code="out_of_memory")
        else:
            self.metrics.failures += 1
            refusal = Refusal(500, f"the model failed: {type(error).__name__}")
        with self._changed:
            for job in jobs:
                self._running.pop(job.key, None)
        _deliver([(job, refusal) for job in jobs])


def _row(job: Job) -> NewRow:
    row, decoding = job.row, job.row.options.decoding
    return NewRow(
        key=job.key,
        prompt=row.prompt,
        frames_F3SS=row.frames_F3SS,
        merging=row.options.merging,
        end_ids=row.end_ids,
        max_new_tokens=decoding.max_new_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        seed=row.seed,
        media_lengths=row.media_lengths,
    )


def _deliver(events: list[tuple[Job, Written | Refusal]]) -> None:
    """Each event to its request, with one wake-up of each loop."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Job, Written | Refusal]]] = {}
    for job, event in events:
        loops.setdefault(job.loop, []).append((job, event))
    for loop, own in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_put, own)


def _put(events: list[tuple[Job, Written | Refusal]]) -> None:
    for job, event in events:
        job.events.put_nowait(event)
