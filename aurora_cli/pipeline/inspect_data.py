"""`aurora inspect data`: the records of every subset, and which of the pictures and clips that they name are there."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.console import Reporter
from aurora_cli.data.annotation_files import is_annotation_file, raw_records
from aurora_cli.data.archives import MediaRoot
from aurora_cli.data.records import Record, Rejection
from aurora_cli.data.schemas import parse_record
from aurora_cli.errors import EXIT_DATA, EXIT_OK, DataError
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.tokenize_jobs import LINE_SUFFIXES

LISTED = 1_000
"""Missing files that are named one by one; the rest is counted."""


@dataclass(frozen=True)
class SubsetReport:
    """One subset."""

    subset: str
    records: int
    unusable: dict[str, int]
    """Records that cannot be read, by reason."""
    media: int
    """Different pictures and clips that records name."""
    found: int
    missing: int


@dataclass(frozen=True)
class DataReport(Result):
    """What `aurora inspect` found in a data folder."""

    path: str
    subsets: tuple[SubsetReport, ...]
    missing: tuple[str, ...] = field(default=())
    """Paths of missing media, at most 1,000."""

    def lines(self) -> list[str]:
        rows = [("subset", "records", "media", "found", "missing")]
        rows += [
            (report.subset, f"{report.records:,}", f"{report.media:,}", f"{report.found:,}", f"{report.missing:,}")
            for report in self.subsets
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"{self.path}:"]
        for name, *numbers in rows:
            cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
            lines.append("  ".join([f"  {name.ljust(widths[0])}", *cells]))
        for report in self.subsets:
            if report.unusable:
                reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(report.unusable.items()))
                lines.append(f"{report.subset}: {sum(report.unusable.values()):,} records cannot be used: {reasons}")
        if self.missing:
            lines.append(f"{sum(report.missing for report in self.subsets):,} media are missing:")
            lines += [f"  {path}" for path in self.missing[:20]]
            if len(self.missing) > 20:
                lines.append("  ... (--json lists more)")
            lines.append("aurora download and aurora extract bring them.")
        return lines

    @property
    def exit_code(self) -> int:
        return EXIT_DATA if self.missing else EXIT_OK


def inspect_data(path: Path, settings: Settings, reporter: Reporter) -> DataReport:
    """Report on a folder of subsets, at any depth down to one subset's own folder."""
    folders: dict[Path, list[Path]] = {}
    for pattern in ("*", "*/*", "*/*/*"):
        for file in sorted(path.glob(pattern)):
            if file.name.endswith(LINE_SUFFIXES) and is_annotation_file(file):
                folders.setdefault(file.parent, []).append(file)
    if not folders:
        raise DataError(f"{path}: holds no annotations ({', '.join(LINE_SUFFIXES)})", hint="aurora download")
    reports, missing = [], []
    total = sum(file.stat().st_size for files in folders.values() for file in files)
    with reporter.progress("inspect", total, "bytes") as advance:
        for folder, files in sorted(folders.items()):
            records, unusable = 0, Counter()
            found: dict[str, bool] = {}
            root = MediaRoot(folder)
            for file in files:
                for line, raw in raw_records(file, advance):
                    records += 1
                    try:
                        record = parse_record(raw, f"{file.name}:{line}", settings.tokenize.record_schema)
                    except Rejection as rejection:
                        unusable[rejection.reason] += 1
                        continue
                    for name in media_of(record):
                        if name not in found:
                            found[name] = root.exists(name)
            absent = [str(folder / name) for name, there in found.items() if not there]
            missing += absent[: LISTED - len(missing)]
            name = folder.relative_to(path).as_posix() if folder != path else folder.name
            counts = len(found), len(found) - len(absent), len(absent)
            reports.append(SubsetReport(name, records, dict(unusable), *counts))
    return DataReport(str(path), tuple(reports), tuple(missing))


def media_of(record: Record) -> list[str]:
    return [*(record.images or ()), *([record.video] if record.video else ())]
