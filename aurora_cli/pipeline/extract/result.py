"""What `aurora extract` did, and how it says so."""

from dataclasses import dataclass, field
from typing import Any

from aurora_cli.errors import EXIT_DATA, EXIT_OK
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.text_table import aligned

SHOWN_REFUSALS = 10


@dataclass(frozen=True)
class ExtractResult(Result):
    """What became of every archive."""

    layout: str
    archives: list[dict[str, Any]]
    """archive, target, parts, size, members, bytes, duplicates, rejected, broken, seconds, done_before."""
    problems: list[str]
    """Archives that could not be begun, and why."""
    deleted: list[str] = field(default_factory=list)
    rejected: int = 0
    rejects_files: list[str] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    """The first ten refused members: archive, member, offset, reason."""
    seconds: float = 0.0
    dry_run: bool = False

    def lines(self) -> list[str]:
        fresh = [entry for entry in self.archives if not entry["done_before"]]
        lines = [_plan(entry) for entry in self.archives] if self.dry_run else self._table(fresh)
        if not fresh and not self.problems:
            lines.append(f"Nothing to do: {len(self.archives)} archives found, all extracted before.")
        lines += [
            f"{entry['archive']}: {entry['duplicates']:,} names came more than once; the last stays."
            for entry in fresh
            if entry["duplicates"]
        ]
        lines += [f"Broken: {entry['broken']}" for entry in self.archives if entry["broken"]]
        lines += [f"Not extracted: {problem}" for problem in self.problems]
        if self.deleted:
            lines.append(f"{len(self.deleted):,} files of archives deleted.")
        if self.rejected:
            members = "1 member was" if self.rejected == 1 else f"{self.rejected:,} members were"
            lines.append(f"{members} refused: {', '.join(self.rejects_files)}")
            lines += [
                f"  {entry['archive']}: {entry['member']!r} at byte {entry['offset']:,} {entry['reason']}"
                for entry in self.refused
            ]
            if self.rejected > len(self.refused):
                lines.append("  ...")
        return lines

    def _table(self, fresh: list[dict[str, Any]]) -> list[str]:
        if not fresh:
            return []
        rows = [("archive", "parts", "members", "bytes", "rejected", "seconds")]
        rows += [_cells(entry["archive"], entry["seconds"], [entry]) for entry in fresh]
        rows.append(_cells(f"{len(fresh)} archive{'s' if len(fresh) > 1 else ''}", self.seconds, fresh))
        return aligned(rows, indent="")

    @property
    def exit_code(self) -> int:
        broken = any(entry["broken"] for entry in self.archives)
        return EXIT_DATA if broken or self.rejected or self.problems else EXIT_OK


def _cells(name: str, seconds: float, entries: list[dict[str, Any]]) -> tuple[str, ...]:
    sums = [sum(entry[key] for entry in entries) for key in ("parts", "members", "bytes", "rejected")]
    return (name, *(f"{number:,}" for number in sums), f"{seconds:,.1f}")


def _plan(entry: dict[str, Any]) -> str:
    parts = f" ({entry['parts']} parts)" if entry["parts"] > 1 else ""
    what = "is extracted" if entry["done_before"] else "would be extracted"
    return f"{entry['archive']}{parts}: {entry['size']:,} bytes, {what} into {entry['target']}"
