"""What `aurora extract` did, and how it says so."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aurora_cli.errors import EXIT_DATA, EXIT_OK
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.text_table import aligned

SHOWN_REFUSALS = 10


@dataclass(frozen=True)
class ArchiveOutcome:
    """What became of one archive; with a dry run, what is known of it before."""

    archive: str
    target: str
    parts: int
    size: int
    """Bytes of the archive."""
    members: int = 0
    bytes: int = 0
    """Of the files among them."""
    duplicates: int = 0
    rejected: int = 0
    broken: str | None = None
    """Where and why it could not be read to its end."""
    seconds: float = 0.0
    done_before: bool = False


@dataclass(frozen=True)
class RefusedMember:
    """A member that was left out."""

    archive: str
    member: str
    offset: int | None
    """In the tar; of a zip, in the tar that `--layout index` makes of it. None: it came by way of scratch."""
    reason: str


@dataclass(frozen=True)
class ExtractResult(Result):
    """What became of every archive."""

    layout: str
    archives: list[ArchiveOutcome]
    problems: list[str]
    """Archives that could not be begun, and why."""
    unread: list[str] = field(default_factory=list)
    """What looks like an archive, and is not read."""
    deleted: list[str] = field(default_factory=list)
    rejected: int = 0
    rejects_files: list[str] = field(default_factory=list)
    refused: list[RefusedMember] = field(default_factory=list)
    """The first ten refused members."""
    seconds: float = 0.0
    dry_run: bool = False
    share: str | None = None
    """Of the archives, as `--shard` says it; `archives` are those of it."""
    missing: tuple[int, ...] = ()
    """Shares that have archives to extract yet."""

    def lines(self) -> list[str]:
        fresh = [outcome for outcome in self.archives if not outcome.done_before]
        lines = [_plan(outcome) for outcome in self.archives] if self.dry_run else self._table(fresh)
        if not fresh and not self.problems and (self.archives or not self.unread):
            of_share = "" if self.share is None else f" of share {self.share}"
            lines.append(f"Nothing to do: {len(self.archives)} archives{of_share} found, all extracted before.")
        lines += [
            f"{outcome.archive}: {outcome.duplicates:,} names came more than once; the last stays."
            for outcome in fresh
            if outcome.duplicates
        ]
        lines += [f"Broken: {outcome.broken}" for outcome in self.archives if outcome.broken]
        lines += [f"Not extracted: {problem}" for problem in self.problems]
        lines += [f"Not read: {message}" for message in self.unread]
        if self.deleted:
            lines.append(f"{len(self.deleted):,} files of archives deleted.")
        if self.missing:
            count = (self.share or "").partition("/")[2]
            lines.append(f"Other shares have archives to extract yet: {', '.join(map(str, self.missing))} of {count}")
        return lines + self._refusals()

    def _refusals(self) -> list[str]:
        if not self.rejected:
            return []
        members = "1 member was" if self.rejected == 1 else f"{self.rejected:,} members were"
        lines = [f"{members} refused: {', '.join(self.rejects_files)}"]
        lines += [
            f"  {refused.archive}: {refused.member!r}{_at(refused.offset)} {refused.reason}" for refused in self.refused
        ]
        return lines + (["  ..."] if self.rejected > len(self.refused) else [])

    def _table(self, fresh: list[ArchiveOutcome]) -> list[str]:
        if not fresh:
            return []
        rows = [("archive", "parts", "members", "bytes", "rejected", "seconds")]
        rows += [_cells(outcome.archive, outcome.seconds, [outcome]) for outcome in fresh]
        rows.append(_cells(f"{len(fresh)} archive{'s' if len(fresh) > 1 else ''}", self.seconds, fresh))
        return aligned(rows, indent="")

    @property
    def exit_code(self) -> int:
        broken = any(outcome.broken for outcome in self.archives)
        return EXIT_DATA if broken or self.rejected or self.problems or self.unread else EXIT_OK


def _at(offset: int | None) -> str:
    return "" if offset is None else f" at byte {offset:,}"


def _cells(name: str, seconds: float, outcomes: Sequence[ArchiveOutcome]) -> tuple[str, ...]:
    sums = [
        sum(outcome.parts for outcome in outcomes),
        sum(outcome.members for outcome in outcomes),
        sum(outcome.bytes for outcome in outcomes),
        sum(outcome.rejected for outcome in outcomes),
    ]
    return (name, *(f"{number:,}" for number in sums), f"{seconds:,.1f}")


def _plan(outcome: ArchiveOutcome) -> str:
    parts = f" ({outcome.parts} parts)" if outcome.parts > 1 else ""
    what = "is extracted" if outcome.done_before else "would be extracted"
    return f"{outcome.archive}{parts}: {outcome.size:,} bytes, {what} into {outcome.target}"
