"""What extraction remembers beside its output: a journal while it works, a receipt when it is done.

`<target>/.aurora/<archive>/` holds `journal.jsonl` (a line for each group of members that is durable),
`rejected.jsonl` (members left out) and `receipt.json` (written last).
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.archives.finding.parts import Archive
from aurora_cli.data.archives.policy import STATE_FOLDER
from aurora_cli.data.archives.reading.formats import format_of
from aurora_cli.data.archives.reading.part_stream import PartStream
from aurora_cli.data.archives.receipt import ExtractionReceipt, JournalHead, Progress, RejectedMember
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import PARTIAL_SUFFIX, fsync_folder, write_text
from aurora_cli.io.durability import sync_filesystem
from aurora_cli.io.locks import file_lock

GROUP_BYTES = 48 << 20
"""Written between two points from which a killed run goes on; with the member that exceeds it, less than 64 MB."""

_ENDS_BYTES = 64 << 10
_SAMPLE_BYTES = 4 << 10
_SAMPLES = 14
_CHECKED_TO_THE_END = ("gzip", "xz")
"""These end with a checksum, or an index, of everything."""


def identity_of(archive: Archive) -> str:
    """Names the bytes of an archive without reading all of them; the same before and after its parts are merged.

    gzip ends with a checksum of everything; a plain tar does not, so there the time of its last change counts too.
    """
    digest = hashlib.sha256()
    with PartStream(archive.files) as raw:
        size = raw.size
        digest.update(str(size).encode())
        for offset in [0, *(size * step // (_SAMPLES + 1) for step in range(1, _SAMPLES + 1)), size - _ENDS_BYTES]:
            raw.seek(max(offset, 0))
            sample = raw.read_whole(_ENDS_BYTES if offset <= 0 or offset == size - _ENDS_BYTES else _SAMPLE_BYTES)
            if offset == 0 and format_of(sample) not in _CHECKED_TO_THE_END:
                digest.update(str([file.stat().st_mtime_ns for file in archive.files]).encode())
            digest.update(sample)
    return digest.hexdigest()


class ExtractionState:
    """The journal and receipt of one archive in one target folder."""

    def __init__(self, archive: Archive, target: Path) -> None:
        path = archive.path.absolute()
        name = path.name
        if path.parent.resolve() != target.resolve():
            name += "-" + _short_hash(str(path))
        self.folder = target / STATE_FOLDER / name
        self.target = target
        self.receipt_path = self.folder / "receipt.json"
        self.rejects_path = self.folder / REJECTS_FILE
        self.partial_name = f".aurora-{_short_hash(name)}.partial"
        """What a member is called while it is written: a run after a crash writes the same one again."""
        self._journal = self.folder / "journal.jsonl"

    def lock(self) -> contextlib.AbstractContextManager[None]:
        return file_lock(self.folder, "aurora extract")

    def finished(self, identity: str, layout: str) -> ExtractionReceipt | None:
        """The receipt, if the archive is still what was extracted, and its output is still there."""
        receipt = ExtractionReceipt.read_if_there(self.receipt_path)
        if receipt is None or (receipt.identity, receipt.layout) != (identity, layout):
            return None
        return receipt if all(os.path.lexists(self.target / sample) for sample in receipt.samples) else None

    def progress(self, identity: str, layout: str) -> Progress:
        """How far an earlier run came with this very archive."""
        with contextlib.suppress(OSError, ValueError, DataError):
            head, *lines = self._journal.read_text(encoding="utf-8").split("\n")[:-1]
            opening = JournalHead.parse(json.loads(head), self._journal)
            is_same = (opening.identity, opening.layout) == (identity, layout)
            if is_same and lines and opening.boot in (None, _boot_id()):
                progress = Progress.parse(json.loads(lines[-1]), self._journal)
                listed = self.rejects_path.stat().st_size if self.rejects_path.exists() else 0
                if listed >= progress.rejects_size:  # a list of none goes before the receipt comes
                    return progress
        return Progress()

    @contextlib.contextmanager
    def journal(self, identity: str, layout: str, after: Progress, *, sync: bool) -> Iterator["Journal"]:
        """Open the journal for the work behind `after`."""
        self.receipt_path.unlink(missing_ok=True)
        beside = self._journal.with_suffix(PARTIAL_SUFFIX)
        with open(beside, "w", encoding="utf-8") as lines, open(self.rejects_path, "ab") as rejects:
            # Without syncing, the journal is right as long as the machine stays up: it names its boot.
            opening = JournalHead(identity=identity, layout=layout, boot=None if sync else _boot_id())
            lines.write(opening.to_line() + after.to_line())
            lines.flush()
            if sync:
                os.fdatasync(lines.fileno())
            beside.replace(self._journal)  # only now: a crash before this costs nothing that was done
            rejects.truncate(after.rejects_size)
            yield Journal(lines, rejects, self.target, sync=sync)

    def finish(self, receipt: ExtractionReceipt, *, sync: bool) -> None:
        """Write the receipt; with `sync` durably, which on some filesystems waits for everything before it."""
        if self.rejects_path.stat().st_size == 0:
            self.rejects_path.unlink()
        text = json.dumps(receipt.to_json(), indent=1) + "\n"  # in ASCII: a name may be no text
        if sync:
            write_text(self.receipt_path, text)
        else:
            partial = self.receipt_path.with_suffix(PARTIAL_SUFFIX)
            partial.write_text(text, encoding="utf-8")
            partial.replace(self.receipt_path)
        self._journal.unlink()
        if sync:
            fsync_folder(self.folder)


class Journal:
    """Makes groups of written members durable, then says so."""

    def __init__(self, lines: IO[str], rejects: IO[bytes], target: Path, *, sync: bool) -> None:
        self._lines, self._rejects, self._target, self._sync = lines, rejects, target, sync

    def reject(self, member: RejectedMember) -> None:
        self._rejects.write(member.to_line().encode())

    def add_rejects(self, lines: IO[bytes]) -> None:
        """Members that were left out elsewhere, as their list has them."""
        shutil.copyfileobj(lines, self._rejects)

    def group_is_done(self, *, offset: int, members: int, size: int, rejected: int) -> None:
        self._rejects.flush()
        if self._sync:
            sync_filesystem(self._target)
        progress = Progress(
            offset=offset,
            members=members,
            bytes=size,
            rejected=rejected,
            rejects_size=os.fstat(self._rejects.fileno()).st_size,
        )
        self._lines.write(progress.to_line())
        self._lines.flush()
        if self._sync:
            os.fdatasync(self._lines.fileno())


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="ascii").strip() if path.exists() else ""
