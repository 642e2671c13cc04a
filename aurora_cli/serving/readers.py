"""The threads that read and decode the media of requests."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any


class Readers:
    """So many threads. The process ends without them: what is on its way from the network may come for long."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._works: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._work, name=f"aurora-media-{number}", daemon=True).start()

    async def call(self, work: Callable[[], Any]) -> Any:
        """What `work` returns, which runs in one of the threads."""
        return await asyncio.wrap_future(self._handed_in(work))

    def close(self) -> None:
        """Each thread ends behind what was handed in before."""
        for _ in range(self._count):
            self._works.put(None)

    def _handed_in(self, work: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._works.put((work, future))
        return future

    def _work(self) -> None:
        while (handed_in := self._works.get()) is not None:
            run_into(*handed_in)
            del handed_in  # not kept until the next comes


def run_into(work: Callable[[], Any], future: Future[Any]) -> None:
    """Give the future what `work` returns or raises, unless nobody waits for it any more."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)
        del work, future  # the error holds this frame, which would hold it
