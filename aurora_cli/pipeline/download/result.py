"""What `aurora download` says: the catalogue with `--dry-run`, what it did without."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.share import Share
from aurora_cli.data.download.disk_forecast import Need
from aurora_cli.data.download.manifest import RemoteFile
from aurora_cli.data.download.origin import Origin
from aurora_cli.data.download.plan import Plan
from aurora_cli.data.download.source import Source
from aurora_cli.pipeline.result import Result


@dataclass(frozen=True)
class SubsetFiles:
    """What of a subset is selected, and what of that was here before this run."""

    subset: str
    files: int
    bytes: int
    files_here: int
    bytes_here: int
    origins: tuple[Origin, ...]

    @property
    def is_one(self) -> bool:
        """Whether this is a subset, and not what lies beside them."""
        return "/" in self.subset

    @property
    def licences(self) -> str:
        return " + ".join(dict.fromkeys(origin.licence for origin in self.origins)) or "not known"


@dataclass(frozen=True)
class LaterStep:
    """What a step after the download will add to the disk."""

    step: str
    bytes: int
    note: str


@dataclass(frozen=True)
class DownloadResult(Result):
    """What was selected, what was here, what came."""

    repo: str
    commit: str
    output: str
    subsets: list[SubsetFiles]
    files: int
    bytes: int
    fetched: int
    fetched_bytes: int
    linked: int
    """Files that are equal to another one, and share its bytes on disk."""
    free_bytes: int
    """On the disk, before this run."""
    later_steps: list[LaterStep]
    dry_run: bool = False
    share: str | None = None
    """Of the files, as `--shard` says it."""
    missing: tuple[int, ...] = ()
    """Shares that have files to fetch yet."""

    def lines(self) -> list[str]:
        here = sum(entry.files_here for entry in self.subsets)
        if not self.dry_run and self.share is not None:
            return self._of_share()
        if not self.dry_run:
            if here == self.files:
                return [f"Nothing to do: all {self.files:,} files ({self.bytes:,} bytes) are in {self.output}."]
            linked = f", {self.linked:,} linked to equal ones" if self.linked else ""
            return [
                f"{self.fetched:,} files fetched ({self.fetched_bytes:,} bytes){linked}, {here:,} were here; "
                f"{self.files:,} files ({self.bytes:,} bytes) are in {self.output}."
            ]
        return [*self._table(), "", *self._disk(), "", *self._terms()]

    def _of_share(self) -> list[str]:
        linked = f", {self.linked:,} linked to equal ones" if self.linked else ""
        line = f"share {self.share}: {self.fetched:,} files fetched ({self.fetched_bytes:,} bytes){linked}"
        lines = [line if self.fetched or self.linked else f"Nothing to do: all files of share {self.share} are there."]
        if not self.missing:
            return [*lines, f"All {self.files:,} files ({self.bytes:,} bytes) are in {self.output}."]
        count = (self.share or "").partition("/")[2]
        return [*lines, f"Other shares have files to fetch yet: {', '.join(map(str, self.missing))} of {count}"]

    def _table(self) -> list[str]:
        width = max(len(entry.subset) for entry in self.subsets)
        rows = [
            f"{entry.subset:<{width}}  {entry.files:>6,} files  {entry.bytes:>19,} bytes  "
            f"{entry.files_here:>6,} here  {entry.licences if entry.is_one else ''}".rstrip()
            for entry in self.subsets
        ]
        here = sum(entry.files_here for entry in self.subsets)
        commit = f" at {self.commit}" if self.commit else ""
        return [
            f"{self.repo}{commit} would be fetched into {self.output}:",
            *rows,
            f"{'all':<{width}}  {self.files:>6,} files  {self.bytes:>19,} bytes  {here:>6,} here",
        ]

    def _disk(self) -> list[str]:
        left = self.free_bytes - self.fetched_bytes
        rows = [("download", self.fetched_bytes, self.free_bytes, "to fetch; equal archives once, as links")]
        rows += [(entry.step, entry.bytes, left, entry.note) for entry in self.later_steps if entry.bytes]
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
            if entry.is_one:
                terms = "; ".join(map(_terms_of, entry.origins)) or "not known: see where the files are from"
                by_origins.setdefault(terms, []).append(entry.subset)
        return lines + [f"{', '.join(subsets)}: {terms}" for terms, subsets in by_origins.items()]


def _terms_of(origin: Origin) -> str:
    address = f" ({origin.url})" if origin.url else ""
    return f"{origin.name}: {origin.licence}{', ' if origin.note else ''}{origin.note}{address}"


class Report(NamedTuple):
    """What is known before the first byte comes, and goes into the result."""

    source: Source
    data: Path
    plan: Plan
    free: int
    needs: list[Need]
    share: Share | None = None

    def result(self, fetched: int, fetched_bytes: int, *, linked: int, dry_run: bool) -> DownloadResult:
        selected = self.plan.selected
        return DownloadResult(
            repo=self.source.name,
            commit=self.source.commit,
            output=str(self.data),
            subsets=self._subsets(),
            files=len(selected),
            bytes=sum(file.size for file in selected),
            fetched=fetched,
            fetched_bytes=fetched_bytes,
            linked=linked,
            free_bytes=self.free,
            later_steps=[LaterStep(*need) for need in self.needs],
            dry_run=dry_run,
            share=None if self.share is None else str(self.share),
        )

    def _subsets(self) -> list[SubsetFiles]:
        here = {file.path for file in self.plan.here}
        by_subset: dict[str, list[RemoteFile]] = {}
        for file in self.plan.selected:
            by_subset.setdefault(file.subset, []).append(file)
        return [
            SubsetFiles(
                subset or "(no subset)",
                len(files),
                sum(file.size for file in files),
                sum(file.path in here for file in files),
                sum(file.size for file in files if file.path in here),
                self.source.origins(subset) if subset else (),
            )
            for subset, files in by_subset.items()
        ]
