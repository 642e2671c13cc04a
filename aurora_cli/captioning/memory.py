"""The most memory that was held: of a GPU what torch holds there, else what the process does."""

import contextlib
import ctypes
import resource
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_CLEAR_PEAK = "5"
"""proc(5): resets the peak resident set size to what is resident now."""


def peak_memory_mb(device: torch.device) -> float:
    """Since the peak was reset, or else since the process began."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 2**10, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1)


def reset_peak_memory(device: torch.device) -> None:
    """What was held before counts no more; where the system does not let a process say so, it goes on counting."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed, which would count as held
        _CLEAR.write_text(_CLEAR_PEAK)
