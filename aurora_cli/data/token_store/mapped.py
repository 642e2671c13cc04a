"""Files of rows mapped into memory, of which a process keeps only what it read last.

Pages of a mapped file can be taken back at any time, but until somebody does they count as memory (RSS) of the process
that read them: of a large store 2 MB a row where the system caches files in huge pages, 29 GB after 60,000 rows.
Batch systems that judge by RSS end such processes, and their page tables make reading slower.
"""

import contextlib
import mmap
from pathlib import Path


class MappedFile:
    """A file to be read anywhere, not from its beginning to its end."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            OSError: it cannot be opened.
            ValueError: it is empty.
        """
        with open(path, "rb") as file:
            self.content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def release(self) -> None:
        """Count what was read of it as this process's no more. What is read again comes from the system's cache."""
        with contextlib.suppress(AttributeError, OSError):  # a system that does not know it
            self.content.madvise(mmap.MADV_DONTNEED)
