"""For all tests: one thread a process, and the long files first.

Where there are more threads, MKL takes as many as it finds idle, and sums in another order when it finds fewer: one
call would differ in the last bit from run to run, so it is told to take all. A number that is set from outside is kept:
CI tries two as well.

Equal bits are asked for where one call is made twice on the same layout, and of what is copied or read from files.
Elsewhere numbers are compared within a bound that was measured: some of torch's CPU kernels (tanh-gelu, silu, sigmoid,
softplus, elu, pow) give one number two results, 2.4e-7 apart, by whether it lies in a full vector or in the rest of
one, so that an image's features depend on its index in the batch; and MKL may sum a matrix that is not aligned to 64
bytes (as it comes out of a file) in another order.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.preloaded import preloaded

for _name, _value in {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MKL_DYNAMIC": "FALSE"}.items():
    os.environ.setdefault(_name, _value)

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

SET_BY_LIBRARIES = ("ACCELERATE_", "CRC32C_", "DS_", "KMP_", "PYTORCH_", "TOKENIZERS_", "TORCH")
ENVIRONMENT = dict(os.environ)

LONG_FIRST = (
    "integration",
    "distributed",
    "pipeline/train",
    "pipeline/test_convert",
    "pipeline/convert",
    "pipeline/extract",
)
"""Files that take minutes begin before those that take seconds, so that two processes end at about the same time."""


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """A folder for the front of PATH, with an `aurora` and a `python` that begin with their imports done."""
    with preloaded() as folder:
        yield folder


@pytest.fixture(scope="module")
def imports_done(programs: Path) -> Iterator[None]:
    """What a module's tests start as `sys.executable`, and what that starts in turn, begins with its imports done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(programs / "python"))
        yield


def pytest_configure() -> None:
    """Tests that press Ctrl-C hold where they run behind an `&`, too: a shell has such processes ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((number for number, folder in enumerate(LONG_FIRST) if folder in path), len(LONG_FIRST))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Every module is imported here: one of ours that changes the environment would change it for all tests."""
    gc.collect()
    gc.freeze()  # what was imported is not looked through for garbage again: a twentieth of the time
    changed = {name for name in {*os.environ, *ENVIRONMENT} if os.environ.get(name) != ENVIRONMENT.get(name)}
    if ours := sorted(name for name in changed if not name.startswith((*SET_BY_LIBRARIES, "PYTEST_"))):
        raise pytest.UsageError(f"importing the tests sets or unsets {', '.join(ours)}")
