"""An iterator that runs ahead of its user in a thread: waiting for a file or another process costs nobody else time."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 4


@dataclass(frozen=True)
class _End:
    """Comes after the last item."""

    error: BaseException | None = None


def taken_ahead(
    open_items: Callable[[], Generator[Item, None, None]], depth: int, *, waits: bool = True
) -> Generator[Item, None, None]:
    """The items of a generator that a thread of its own opens, uses up and closes, up to `depth` ahead.

    What the generator raises is raised here, in its turn. Closing waits for the item that is under way, unless it is
    one that may take long and that nobody misses (`waits=False`).
    """
    items: SimpleQueue[Any] = SimpleQueue()
    room = threading.Semaphore(depth)
    left = threading.Event()
    thread = threading.Thread(target=_take, args=(open_items, items, room, left), name="data taken ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := items.get(), _End):
            room.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
        room.release()
        if waits:
            thread.join()


def mapped_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Generator[Result, None, None]:
    """What a function makes of the items, in their order; so many threads (one a core) have an item each, and
    one item waits, made or not.

    Worth it where the function lets other threads run, as parsers and numpy do.
    """
    count = min(len(os.sched_getaffinity(0)), MOST_THREADS) if threads is None else threads
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(count, "mapped ahead") as pool:
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) > count:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def _take(
    open_items: Callable[[], Generator[Item, None, None]],
    items: "SimpleQueue[Any]",
    room: threading.Semaphore,
    left: threading.Event,
) -> None:
    try:
        opened = open_items()
        try:
            while room.acquire() and not left.is_set():
                items.put(next(opened))
        finally:
            opened.close()
    except StopIteration:
        items.put(_End())
    except BaseException as error:
        items.put(_End(error))
