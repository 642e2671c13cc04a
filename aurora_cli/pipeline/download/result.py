"""What `aurora download` says: the catalogue with `--dry-run`, what it did without."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from aurora_cli.data.download.disk_forecast import Need
from aurora_cli.data.download.origins import to_record
from aurora_cli.data.download.plan import Plan
from aurora_cli.data.download.source import Source
from aurora_cli.pipeline.result import Result


@dataclass(frozen=True)
class DownloadResult(Result):
    """What was chosen, what was here, what came."""

    repo: str
    commit: str
    output: str
    subsets: list[dict[str, Any]]
    """subset, files, bytes, files_here, bytes_here (here before this run), origins (name, licence, url, note)."""
    files: int
    bytes: int
    fetched: int
    fetched_bytes: int
    linked: int
    """Files that are equal to another one, and share its place on disk."""
    free_bytes: int
    """On the disk, before this run."""
    later_steps: list[dict[str, Any]]
    """What they will add to the disk: step, bytes, note."""
    dry_run: bool = False

    def lines(self) -> list[str]:
        here = sum(entry["files_here"] for entry in self.subsets)
        if not self.dry_run:
            if here == self.files:
                return [f"Nothing to do: all {self.files:,} files ({self.bytes:,} bytes) are in {self.output}."]
            linked = f", {self.linked:,} linked to equal ones" if self.linked else ""
            return [
                f"{self.fetched:,} files fetched ({self.fetched_bytes:,} bytes){linked}, {here:,} were here; "
                f"{self.files:,} files ({self.bytes:,} bytes) are in {self.output}."
            ]
        return [*self._table(), "", *self._disk(), "", *self._terms()]

    def _table(self) -> list[str]:
        width = max(len(entry["subset"]) for entry in self.subsets)
        rows = [
            f"{entry['subset']:<{width}}  {entry['files']:>6,} files  {entry['bytes']:>19,} bytes  "
            f"{entry['files_here']:>6,} here  {_licences(entry)}".rstrip()
            for entry in self.subsets
        ]
        here = sum(entry["files_here"] for entry in self.subsets)
        commit = f" at {self.commit}" if self.commit else ""
        return [
            f"{self.repo}{commit} would be fetched into {self.output}:",
            *rows,
            f"{'all':<{width}}  {self.files:>6,} files  {self.bytes:>19,} bytes  {here:>6,} here",
        ]

    def _disk(self) -> list[str]:
        left = self.free_bytes - self.fetched_bytes
        rows = [("download", self.fetched_bytes, self.free_bytes, "to fetch; equal archives once, as links")]
        rows += [(entry["step"], entry["bytes"], left, entry["note"]) for entry in self.later_steps if entry["bytes"]]
        width = max(len(step) for step, *_ in rows)
        return [
            f"Disk: {self.free_bytes:,} bytes are free. What the steps add to it, each by itself after the download:",
            *(
                f"{step:<{width}}  {size:>19,} bytes  {'fits        ' if size <= free else 'DOES NOT FIT'}  {note}"
                for step, size, free, note in rows
            ),
        ]

    def _terms(self) -> list[str]:
        lines = [
            "Sources, their licences and terms, as their pages state them (read these before you publish anything):"
        ]
        by_origins: dict[str, list[str]] = {}
        for entry in self.subsets:
            if "/" in entry["subset"]:
                said = "; ".join(
                    f"{origin['name']}: {origin['licence']}{', ' if origin['note'] else ''}{origin['note']}"
                    + (f" ({origin['url']})" if origin["url"] else "")
                    for origin in entry["origins"]
                )
                by_origins.setdefault(said or "not known: see where the files are from", []).append(entry["subset"])
        return lines + [f"{', '.join(subsets)}: {said}" for said, subsets in by_origins.items()]


def _licences(entry: dict[str, Any]) -> str:
    if "/" not in entry["subset"]:
        return ""
    return " + ".join(dict.fromkeys(origin["licence"] for origin in entry["origins"])) or "not known"


class Report(NamedTuple):
    """What is known before the first byte comes, and goes into the result."""

    source: Source
    data: Path
    plan: Plan
    free: int
    needs: list[Need]

    def result(self, fetched: int, fetched_bytes: int, *, linked: int, dry_run: bool) -> DownloadResult:
        chosen = self.plan.chosen
        return DownloadResult(
            repo=self.source.name,
            commit=self.source.commit,
            output=str(self.data),
            subsets=self._subsets(),
            files=len(chosen),
            bytes=sum(file.size for file in chosen),
            fetched=fetched,
            fetched_bytes=fetched_bytes,
            linked=linked,
            free_bytes=self.free,
            later_steps=[need._asdict() for need in self.needs],
            dry_run=dry_run,
        )

    def _subsets(self) -> list[dict[str, Any]]:
        subsets: dict[str, dict[str, Any]] = {}
        here = {file.path for file in self.plan.here}
        for file in self.plan.chosen:
            name = file.subset or "(no subset)"
            if name not in subsets:
                origins = to_record(self.source.origins(file.subset)) if file.subset else []
                subsets[name] = {"subset": name, "files": 0, "bytes": 0, "files_here": 0, "bytes_here": 0}
                subsets[name]["origins"] = origins
            entry = subsets[name]
            entry["files"] += 1
            entry["bytes"] += file.size
            if file.path in here:
                entry["files_here"] += 1
                entry["bytes_here"] += file.size
        return list(subsets.values())
