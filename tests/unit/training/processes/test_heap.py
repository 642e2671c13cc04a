"""The heap of a process that computes on a CPU."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource, sys
import numpy as np
from aurora_cli.training.processes.heap import keep_freed_memory

if sys.argv[1] == "keeps":
    keep_freed_memory()
for size in (80, 120, 90, 110, 100):  # MB; more than glibc ever keeps by itself
    np.ones(size << 17)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for size in (80, 120, 90, 110, 100):
    np.ones(size << 17)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
@pytest.mark.slow
def test_a_block_that_was_freed_is_taken_again_without_a_page_from_the_system() -> None:
    assert faults("keeps") < 100 < faults("gives back")


HOLES = """
import numpy as np
from aurora_cli.training.processes.heap import keep_freed_memory

def megabytes():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) / 1024

blocks = [np.ones(100 << 10, np.uint8) for _ in range(1000)]  # small ones, that are no mappings of their own
del blocks[:-1]  # the last keeps the heap as long as it is
before = megabytes()
keep_freed_memory()
print(before - megabytes())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_what_was_freed_before_goes_back_to_the_system() -> None:
    given_back = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True).stdout
    assert float(given_back) == pytest.approx(1000 * 100 / 1024, rel=0.1)


HUGE = """
import sys
from aurora_cli.training.processes.heap import use_huge_pages

if sys.argv[1] == "asks":
    use_huge_pages()
import torch

held = torch.ones(16 << 20)
print(sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHuge")) // 1024)
"""


def asks_for_huge_pages() -> bool:
    """Whether this system gives them to those that ask, and to no others."""
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return enabled.exists() and "[madvise]" in enabled.read_text()


@pytest.mark.skipif(not asks_for_huge_pages(), reason="this system has no huge pages on demand")
@pytest.mark.slow
def test_large_tensors_lie_in_huge_pages() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("THP_")}

    def huge(how: str) -> int:
        command = [sys.executable, "-c", HUGE, how]
        return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    megabytes = {how: huge(how) for how in ("asks", "does not ask")}
    assert megabytes["does not ask"] == 0
    assert 56 <= megabytes["asks"] <= 64
