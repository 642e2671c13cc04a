"""SIGTERM and SIGINT as a wish to stop: noted when they come, obeyed at the end of an optimizer step."""

import contextlib
import signal
from collections.abc import Callable, Iterator

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def on_stop_signals(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the signal's number instead of what the signals did before; nothing outside the main thread."""
    before = {}
    try:
        for number in STOP_SIGNALS:
            before[number] = signal.signal(number, lambda signum, _: act(signum))
    except ValueError:  # not the main thread: signals are somebody else's
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopRequest:
    """Whether this process is to stop. A second request does not wait for the step's end."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, signum: int) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
