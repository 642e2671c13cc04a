"""The parts of an archive as one stream."""

import io
import os
from collections.abc import Iterable
from pathlib import Path


class PartStream(io.RawIOBase):
    """The bytes of several files, one behind the other, as one file to read."""

    def __init__(self, files: Iterable[Path]) -> None:
        super().__init__()
        self._files = list(files)
        self._sizes = [file.stat().st_size for file in self._files]
        self._index = 0
        self._current: io.FileIO | None = None
        self._position = 0

    @property
    def size(self) -> int:
        return sum(self._sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the files, one by one."""
        return tuple(self._sizes)

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(base + offset, 0)
        self._close_current()
        rest = self._position
        self._index = 0
        while self._index < len(self._files) and rest >= self._sizes[self._index]:
            rest -= self._sizes[self._index]
            self._index += 1
        if self._index < len(self._files):
            self._current = io.FileIO(self._files[self._index])
            self._current.seek(rest)
        return self._position

    def go_to(self, offset: int) -> None:
        """As `seek`, but free where the stream is there already."""
        if offset != self._position:
            self.seek(offset)

    def read(self, size: int = -1) -> bytes:
        """As of any raw file, but without the copy that the base class makes."""
        if size < 0:
            return self.readall()
        while self._index < len(self._files):
            if self._current is None:
                self._current = io.FileIO(self._files[self._index])
            if content := self._current.read(size):
                self._position += len(content)
                return content
            self._close_current()
            self._index += 1
        return b""

    def read_whole(self, size: int) -> bytes:
        """The next `size` bytes, over the ends of parts; fewer only at the end of all."""
        content = b""
        while len(content) < size and (piece := self.read(size - len(content))):
            content += piece
        return content

    def _close_current(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None

    def close(self) -> None:
        self._close_current()
        super().close()
