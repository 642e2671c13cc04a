"""What extraction remembers beside its output: a journal while it works, a receipt when it is done.

`<target>/.aurora/<archive>/` holds `journal.jsonl` (a line for each group of members that is durable),
`rejected.jsonl` (members left out) and `receipt.json` (written last).
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.archives.part_stream import GZIP_MAGIC, PartStream
from aurora_cli.data.archives.parts import Archive
from aurora_cli.data.archives.policy import STATE_FOLDER
from aurora_cli.io.atomic import PARTIAL_SUFFIX, file_lock, fsync_folder, read_json, write_json
from aurora_cli.io.durability import sync_filesystem

GROUP_BYTES = 48 << 20
"""Written between two points from which a killed run goes on; with the member that exceeds it, less than 64 MB."""

_ENDS_BYTES = 64 << 10
_SAMPLE_BYTES = 4 << 10
_SAMPLES = 14


@dataclass
class Receipt:
    """What became of an archive."""

    archive: str
    layout: str
    identity: str
    members: int = 0
    bytes: int = 0
    duplicates: int = 0
    """Names that came more than once; the last stays."""
    rejected: int = 0
    broken: str | None = None
    """Where and why the archive could not be read to its end."""
    nested: list[str] = field(default_factory=list)
    """Members that are archives themselves; they stay packed."""
    samples: list[str] = field(default_factory=list)
    """Some members, to notice that the output has been removed."""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        return self.broken is None and self.rejected == 0


@dataclass(frozen=True)
class Progress:
    """A line of the journal: everything before `offset` of the tar is done, and durable."""

    offset: int = 0
    members: int = 0
    bytes: int = 0
    rejected: int = 0
    rejects_size: int = 0


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
            if offset == 0 and not sample.startswith(GZIP_MAGIC):
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

    def finished(self, identity: str, layout: str) -> Receipt | None:
        """The receipt, if the archive is still what was extracted, and its output is still there."""
        receipt = self.receipt()
        if receipt is None or (receipt.identity, receipt.layout) != (identity, layout):
            return None
        return receipt if all(os.path.lexists(self.target / sample) for sample in receipt.samples) else None

    def receipt(self) -> Receipt | None:
        if not self.receipt_path.is_file():
            return None
        stored = read_json(self.receipt_path)
        known = {entry.name for entry in fields(Receipt)}
        return Receipt(**{key: value for key, value in stored.items() if key in known})

    def progress(self, identity: str, layout: str) -> Progress:
        """How far an earlier run came with this very archive."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            head, *lines = self._journal.read_text(encoding="utf-8").split("\n")[:-1]
            opening = json.loads(head)
            is_same = opening["identity"] == identity and opening["layout"] == layout
            if is_same and lines and opening["boot"] in (None, _boot_id()):
                progress = Progress(**json.loads(lines[-1]))
                if self.rejects_path.stat().st_size >= progress.rejects_size:
                    return progress
        return Progress()

    @contextlib.contextmanager
    def journal(self, identity: str, layout: str, after: Progress, *, sync: bool) -> Iterator["Journal"]:
        """Open the journal for the work behind `after`."""
        self.receipt_path.unlink(missing_ok=True)
        beside = self._journal.with_suffix(PARTIAL_SUFFIX)
        with open(beside, "w", encoding="utf-8") as lines, open(self.rejects_path, "ab") as rejects:
            # Without syncing, the journal is right as long as the machine stays up: it names its boot.
            opening = {"identity": identity, "layout": layout, "boot": None if sync else _boot_id()}
            lines.write(json.dumps(opening) + "\n" + json.dumps(asdict(after)) + "\n")
            lines.flush()
            if sync:
                os.fdatasync(lines.fileno())
            beside.replace(self._journal)  # only now: a crash before this costs nothing that was done
            rejects.truncate(after.rejects_size)
            yield Journal(lines, rejects, self.target, sync=sync)

    def finish(self, receipt: Receipt, *, sync: bool) -> None:
        """Write the receipt; with `sync` durably, which on some filesystems waits for everything before it."""
        if self.rejects_path.stat().st_size == 0:
            self.rejects_path.unlink()
        if sync:
            write_json(self.receipt_path, asdict(receipt))
        else:
            partial = self.receipt_path.with_suffix(PARTIAL_SUFFIX)
            partial.write_text(json.dumps(asdict(receipt), indent=1) + "\n", encoding="utf-8")
            partial.replace(self.receipt_path)
        self._journal.unlink()
        if sync:
            fsync_folder(self.folder)


class Journal:
    """Makes groups of written members durable, then says so."""

    def __init__(self, lines: IO[str], rejects: IO[bytes], target: Path, *, sync: bool) -> None:
        self._lines, self._rejects, self._target, self._sync = lines, rejects, target, sync

    def reject(self, entry: dict[str, Any]) -> None:
        self._rejects.write(json.dumps(entry).encode() + b"\n")

    def group_is_done(self, *, offset: int, members: int, size: int, rejected: int) -> None:
        self._rejects.flush()
        if self._sync:
            sync_filesystem(self._target)
        progress = Progress(offset, members, size, rejected, os.fstat(self._rejects.fileno()).st_size)
        self._lines.write(json.dumps(asdict(progress)) + "\n")
        self._lines.flush()
        if self._sync:
            os.fdatasync(self._lines.fileno())


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="ascii").strip() if path.exists() else ""
