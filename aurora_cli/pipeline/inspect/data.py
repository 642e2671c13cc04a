"""`aurora inspect data`: the records of every subset, and the state of the images and videos that they name."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import Settings
from aurora_cli.config.share import Share, take_share
from aurora_cli.config.workspace import Workspace, media_root_of
from aurora_cli.console import Reporter
from aurora_cli.data.annotations.files import is_annotation_file, raw_records
from aurora_cli.data.annotations.keys import KeyCounts, key_lines
from aurora_cli.data.annotations.records import Record, Rejection, media_of
from aurora_cli.data.annotations.schemas import parse_record
from aurora_cli.data.annotations.sources import LINE_SUFFIXES
from aurora_cli.data.annotations.unread_files import no_annotations, unread_files
from aurora_cli.data.media.check import complaint, has_frames
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.seen import Seen
from aurora_cli.errors import EXIT_DATA, EXIT_OK
from aurora_cli.io.data_uri import shown
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.text_table import aligned

LISTED = 1_000
"""Missing and unreadable media that are named one by one; the rest is counted."""
SHOWN = 20
WHOLE = Share(0, 1)
_AT_ONCE = 256
"""Media that are decoded side by side."""


@dataclass(frozen=True)
class SubsetReport:
    """One subset."""

    subset: str
    records: int
    duplicates: int
    """Records that say what an earlier one says, whatever their ids."""
    unusable: dict[str, int]
    """Records that cannot be read, by reason."""
    media: int
    """Different images and videos that records name."""
    found: int
    missing: int
    unreadable: int | None
    """Of those found, and of the parts of videos; none: nobody looked (`inspect.decode`)."""
    keys_read: dict[str, int]
    """Records by the keys of media, times, weights and roles that were read."""
    keys_warned: dict[str, int]
    """Records by the keys that look like one of these, and were not read."""
    animated: int | None = None
    """Images, by their records, that have several frames: the first is read. None: nobody looked."""


@dataclass(frozen=True)
class DataReport(Result):
    """What `aurora inspect` found in a data folder."""

    path: str
    subsets: tuple[SubsetReport, ...]
    missing: tuple[str, ...] = ()
    """Paths of missing media, at most 1,000."""
    unreadable: tuple[tuple[str, str], ...] = ()
    """Paths of media that cannot be decoded, and why, at most 1,000."""
    unread: tuple[str, ...] = ()
    """Files that lie among the annotations and are not read, with what to type."""
    share: str | None = None
    """Of the media, as `--shard` says it, that was decoded; what cannot be decoded is of this share."""

    def lines(self) -> list[str]:
        rows = [("subset", "records", "duplicates", "media", "found", "missing", "unreadable")]
        rows += [_cells(report) for report in self.subsets]
        decoded = any(report.unreadable is not None for report in self.subsets)
        lines = [f"{self.path}:", *aligned(rows if decoded else [row[:-1] for row in rows])]
        for report in self.subsets:
            if report.unusable:
                reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(report.unusable.items()))
                lines.append(f"{report.subset}: {sum(report.unusable.values()):,} records cannot be used: {reasons}")
            if keys := key_lines(report.keys_read, report.keys_warned):
                lines += [f"{report.subset}:", *keys]
        missing = sum(report.missing for report in self.subsets)
        unreadable = sum(report.unreadable or 0 for report in self.subsets)
        if missing:
            lines += _listed(f"{missing:,} media are missing:", self.missing)
            lines.append("aurora download and aurora extract bring them.")
        if unreadable:
            media = "media" if self.share is None else f"media of share {self.share}"
            pairs = [": ".join(pair) for pair in self.unreadable]
            lines += _listed(f"{unreadable:,} {media} cannot be decoded:", pairs)
        if animated := sum(report.animated or 0 for report in self.subsets):
            lines.append(f"{animated:,} images have several frames, and only the first is read.")
            lines.append("Where all are meant, their records have to say `video`.")
        lines += self.unread
        return lines

    @property
    def exit_code(self) -> int:
        return EXIT_DATA if self.missing or self.unreadable else EXIT_OK


def inspect_data(path: Path, settings: Settings, reporter: Reporter, media_root: Path | None = None) -> DataReport:
    """Report on a folder of subsets, at any depth down to one subset's own folder. Memory: 8 bytes a name.

    Media are looked for from `media_root`, else from each annotation file's folder.

    Raises:
        DataError: there are no annotation files.
    """
    folders: dict[Path, list[Path]] = {}
    for pattern in ("*", "*/*", "*/*/*"):
        for file in sorted(path.glob(pattern)):
            if file.name.endswith(LINE_SUFFIXES) and is_annotation_file(file):
                folders.setdefault(file.parent, []).append(file)
    if not folders:
        raise no_annotations(path, unread_files(path))
    share = take_share(settings.inspect.shard, reporter) if settings.inspect.decode else None
    listed = _Listed([], [])
    total = sum(file.stat().st_size for files in folders.values() for file in files)
    with reporter.progress("inspect", total, "bytes") as advance:
        reports = [
            _subset(
                folder.relative_to(path).as_posix() if folder != path else folder.name,
                _SubsetRecords(files, advance),
                media_root_of(files[0], media_root),
                listed,
                decode=(share or WHOLE) if settings.inspect.decode else None,
            )
            for folder, files in sorted(folders.items())
        ]
    unread = unread_files(path) if path == Workspace(settings.workspace).data else ()
    not_read = tuple(f"{file}. To read it: {file.hint}" for file in unread)
    named = None if share is None else str(share)
    return DataReport(str(path), tuple(reports), tuple(listed.missing), tuple(listed.unreadable), not_read, named)


class _Listed(NamedTuple):
    """The first media of all subsets that are missing or cannot be decoded, and why."""

    missing: list[str]
    unreadable: list[tuple[str, str]]


class _State(NamedTuple):
    there: bool
    complaint: str | None = None
    is_animated: bool = False


def _subset(name: str, records: "_SubsetRecords", root: Path, listed: _Listed, *, decode: Share | None) -> SubsetReport:
    """Report on one subset, and `decode` a share of its media; none: nothing."""
    states = Counter(found=0, missing=0, unreadable=0, animated=0)
    media = _media_named(records, decode=decode is not None)
    for medium, state in _states(MediaRoot(root), media, decode=decode):
        path = str(root / shown(medium.name))
        if medium.is_new:
            states["found" if state.there else "missing"] += 1
        states["animated"] += state.is_animated
        if not state.there:
            listed.missing.extend([path][: LISTED - len(listed.missing)] if medium.is_new else [])
        elif state.complaint is not None:
            states["unreadable"] += 1
            listed.unreadable.extend([(path, state.complaint)][: LISTED - len(listed.unreadable)])
    return SubsetReport(
        subset=name,
        records=records.count,
        duplicates=records.duplicates,
        unusable=dict(records.unusable),
        media=states["found"] + states["missing"],
        found=states["found"],
        missing=states["missing"],
        unreadable=None if decode is None else states["unreadable"],
        keys_read=dict(records.keys.read),
        keys_warned=dict(records.keys.warned),
        animated=None if decode is None else states["animated"],
    )


class _SubsetRecords:
    """The records of a subset that can be read, one after the other; all are counted on the way."""

    def __init__(self, files: list[Path], advance: Callable[[int], None]) -> None:
        self._files = files
        self._advance = advance
        self.count = self.duplicates = 0
        self.unusable: Counter[str] = Counter()
        self.keys = KeyCounts()

    def __iter__(self) -> Iterator[Record]:
        seen = Seen()
        for file in self._files:
            for line, raw in raw_records(file, self._advance):
                self.count += 1
                try:
                    record = parse_record(raw, f"{file.name}:{line}", counts=self.keys)
                except Rejection as rejection:
                    self.unusable[rejection.reason] += 1
                    continue
                self.duplicates += not seen.add((*media_of(record), record.span, *record.messages))
                yield record


class _Medium(NamedTuple):
    name: str
    span: tuple[float, float] | None
    is_new: bool
    """Not named before; else another part of a video."""
    is_image: bool


def _media_named(records: Iterable[Record], *, decode: bool) -> Iterator[_Medium]:
    """Every medium once; where it is decoded, each part of a video too."""
    seen, parts = Seen(), Seen()
    for record in records:
        for name in media_of(record):
            is_new = seen.add(name)
            is_new_part = decode and record.span is not None and parts.add((name, record.span))
            if is_new or is_new_part:
                yield _Medium(name, record.span, is_new, is_image=name != record.video)


def _states(root: MediaRoot, media: Iterator[_Medium], *, decode: Share | None) -> Iterator[tuple[_Medium, _State]]:
    """Look after each medium, on every core those that are decoded."""

    def state(numbered: tuple[int, _Medium]) -> _State:
        position, medium = numbered
        there = root.locate(medium.name) is not None
        if not there or decode is None or not decode.takes(position):
            return _State(there)
        is_animated = medium.is_image and has_frames(root, medium.name)
        return _State(there, complaint(root, medium.name, medium.span), is_animated)

    numbered = enumerate(media)
    if decode is None:
        yield from ((medium, state((position, medium))) for position, medium in numbered)
        return
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        while some := list(islice(numbered, _AT_ONCE)):
            yield from zip((medium for _, medium in some), pool.map(state, some), strict=True)


def _cells(report: SubsetReport) -> tuple[str, ...]:
    numbers = (report.records, report.duplicates, report.media, report.found, report.missing, report.unreadable)
    return (report.subset, *("" if number is None else f"{number:,}" for number in numbers))


def _listed(head: str, paths: Iterable[str]) -> list[str]:
    paths = list(paths)
    rest = ["  ... (--json lists more)"] if len(paths) > SHOWN else []
    return [head, *(f"  {path}" for path in paths[:SHOWN]), *rest]
