"""How many GPUs this machine has, found out without importing torch, which takes seconds."""

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
"""One of these is there where a GPU can be: NVIDIA's, AMD's, and Windows' below Linux."""


def gpu_count(environ: Mapping[str, str] = os.environ) -> int:
    """As many as torch would say; where that is not plain, torch is asked."""
    if not any(driver.exists() for driver in DRIVERS):
        return 0
    count = _nvml_count()
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if count is not None and visible is None:
        return count
    if count is not None and visible is not None and (named := _plain_indices(visible, count)) is not None:
        return named
    import torch

    return torch.cuda.device_count()


def _plain_indices(visible: str, count: int) -> int | None:
    """How many of `count` devices a list of whole numbers names; none: it is another one.

    >>> _plain_indices("0,1", 8), _plain_indices("", 8), _plain_indices("9", 8), _plain_indices("GPU-8f2a", 8)
    (2, 0, None, None)
    """
    if not visible.strip():
        return 0
    words = [word.strip() for word in visible.split(",")]
    if all(word.isdecimal() and int(word) < count for word in words) and len(set(words)) == len(words):
        return len(words)
    return None


def _nvml_count() -> int | None:
    """What NVIDIA's management library says; none: it is not there, or does not answer."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    count = ctypes.c_uint()
    if library.nvmlInit_v2() != 0 or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return None
    return count.value
