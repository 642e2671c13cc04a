"""For all tests: one thread a process, and the long files first.

With more threads, MKL takes as many as it finds idle, and sums in another order when it finds fewer: results of one
test would differ in the last bit from run to run. A number that is set from outside is kept: CI tries two as well.
"""

import os

import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

LONG_FIRST = (
    "integration",
    "distributed",
    "pipeline/train",
    "pipeline/test_convert",
    "pipeline/convert",
    "pipeline/extract",
)
"""Files that take minutes begin before those that take seconds, so that two processes end at about the same time."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((number for number, folder in enumerate(LONG_FIRST) if folder in path), len(LONG_FIRST))

    items.sort(key=rank)
