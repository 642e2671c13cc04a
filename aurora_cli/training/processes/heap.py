"""The C library's heap in a process that trains on a CPU."""

import ctypes

_MMAP_THRESHOLD = -3
"""`M_MMAP_THRESHOLD` of malloc.h."""
_BLOCK = 256 << 10


def give_back_at_once() -> None:
    """Let every block from 256 KiB on be a mapping of its own, which ends as it is freed; where the library can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library than glibc
        return
    mallopt(_MMAP_THRESHOLD, _BLOCK)
