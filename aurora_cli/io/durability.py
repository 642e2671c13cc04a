"""What Linux offers for writing much and keeping it, beyond fsync. Elsewhere the plain way, or nothing."""

import ctypes
import os
from pathlib import Path

from aurora_cli.errors import HostError

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYNC_FILE_RANGE_WRITE = 2


def sync_filesystem(folder: Path) -> None:
    """Everything written to the filesystem of `folder` is durable: one call for thousands of files (syncfs)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if hasattr(_LIBC, "syncfs"):
            if _LIBC.syncfs(descriptor) != 0:
                code = ctypes.get_errno()
                raise HostError(f"{folder}: cannot be made durable: {os.strerror(code)}")
        else:
            os.sync()
    finally:
        os.close(descriptor)


def start_writing(descriptor: int, offset: int, size: int) -> None:
    """Let the disk begin with these bytes now, so that the fsync at the end has less to wait for. No promise."""
    if hasattr(_LIBC, "sync_file_range"):
        _LIBC.sync_file_range(
            descriptor, ctypes.c_int64(offset), ctypes.c_int64(size), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE)
        )
