"""What tells a file from what it was before somebody changed it, without reading it."""

import os


def version_of(status: os.stat_result) -> str:
    """Its number on the disk, its size, when its content and when anything of it changed (nanoseconds).

    The last cannot be set back, as the time before it can: a file of the same size that is put in the place of another
    with its time has another version.
    """
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
