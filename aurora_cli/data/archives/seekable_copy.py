"""The uncompressed tar of an archive that cannot be read at any place: compressed, in parts, or a zip."""

from pathlib import Path

from aurora_cli.data.archives.journal import GROUP_BYTES, Journal
from aurora_cli.io.durability import start_writing

_BEGIN_BYTES = 8 << 20


class SeekableCopy:
    """The uncompressed tar as it is read, durable in groups; what an earlier run wrote is not written again."""

    def __init__(self, path: Path, done: int, journal: Journal, *, sync: bool) -> None:
        self._file = open(path, "r+b" if done else "wb", buffering=0)  # noqa: SIM115
        self._file.truncate(done)
        self._file.seek(done)
        self.size = 0
        self._done, self._durable, self._journal = done, done, journal
        self._sync, self._begun = sync, done

    def __enter__(self) -> "SeekableCopy":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, content: memoryview) -> None:
        fresh = content[max(self._done - self.size, 0) :]
        self.size += len(content)
        while fresh:
            fresh = fresh[self._file.write(fresh) :]
        if self._sync and self.size - self._begun >= _BEGIN_BYTES:
            start_writing(self._file.fileno(), self._begun, self.size - self._begun)
            self._begun = self.size
        if self.size - self._durable >= GROUP_BYTES:
            self._durable = self.size
            self._journal.group_is_done(offset=self.size, members=0, size=0, rejected=0)
