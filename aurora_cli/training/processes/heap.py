"""The memory of a process that computes on a CPU: the C library's heap, of which only glibc can be told, and the
system's pages."""

import contextlib
import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""`M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of malloc.h."""
_SMALL_BLOCK, _LARGE_BLOCK, _MOST_KEPT = 256 << 10, 1 << 30, 2**31 - 1


def give_back_at_once() -> None:
    """Let every block from 256 KiB on be a mapping of its own, which ends as it is freed."""
    _set({_MMAP_THRESHOLD: _SMALL_BLOCK})


def keep_freed_memory() -> None:
    """Let blocks that are freed from now on be taken again, instead of giving them back to the system.

    A step frees and takes gigabytes, and the system clears every page anew: of packs of 4,096 tokens that differ from
    step to step (50 M weights, two cores) that was 10 to 14 % of the CPU time, 4 to 6 % are left, and the most memory
    held at a time grew by 4 to 10 %.

    What was freed before goes back: planning 20 million samples leaves holes of 100 MB, that a forked process shares
    until one of the two writes there.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    _set({_MMAP_THRESHOLD: _LARGE_BLOCK, _TRIM_THRESHOLD: _MOST_KEPT})


def use_huge_pages() -> None:
    """Let torch ask for pages of 2 MB where it takes that much. Only before torch is imported; Linux listens.

    A step of decoding reads all weights, keys and values once, and finding their pages of 4 KB takes a part of that:
    120 MB were read at 45 GB/s instead of 30 (two cores, a virtual machine), captions took 5 % less time.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _set(options: dict[int, int]) -> None:
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in options.items():
            mallopt(option, value)
