"""The sources of an import, opened: how each is read, where its media are, and what the manifest will say of it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from aurora_cli.config.importing import ImportSettings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Advance, unheard
from aurora_cli.data.annotations.records import Rejection
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.item import Item
from aurora_cli.data.importing.manifest import ImportedFile, ImportedSource, file_entry, folder_entry
from aurora_cli.data.importing.media_source import ArchivedMedia, FolderMedia, MediaSource, Moved
from aurora_cli.data.importing.registry import recognised
from aurora_cli.errors import DataError, UsageError
from aurora_cli.pipeline.import_data.moved import moved_media

ROWS_LOOKED_AT = 500
MEDIA_LOOKED_FOR = 40
FOLDERS_LOOKED_IN = 200


@dataclass(frozen=True)
class SourceToImport:
    """One source."""

    path: Path
    format: ImportFormat
    opened: Opened
    root: Path
    """What paths of media start from."""
    link: str | None
    """Name below `.media`; none: the media are not in a folder."""
    moved: Moved | None = None
    """Where the paths of media begin on the machine that wrote them, if that is elsewhere."""

    @property
    def about(self) -> list[str]:
        """How it is read, for people."""
        before = "" if self.moved is None else f", which stands for {self.moved.before}"
        media = [] if self.link is None else [f"media in {self.root}{before}"]
        return [f"{self.path}: {self.format.name}: " + "; ".join([*self.opened.about, *media])]

    def preview_media(self) -> MediaSource:
        """Finds media before anything is linked or indexed."""
        if self.opened.archives:
            return ArchivedMedia({archive.name: archive.path for archive in self.opened.archives})
        return FolderMedia(self.root, self.link or "media", self.moved)

    def entry(self, workspace: Workspace, known: ImportedSource | None) -> ImportedSource:
        """What a manifest says of it; hashes of files that are as they were are taken from `known`."""
        former = {} if known is None else {file.path: file for file in known.files}
        files: list[ImportedFile] = []
        for file in self.opened.files or (self.path,):
            before = former.get(workspace.relative(file))
            files.append(folder_entry(file, workspace) if file.is_dir() else file_entry(file, workspace, before))
        return ImportedSource(
            path=workspace.relative(self.path),
            format=self.format.name,
            media_root=workspace.relative(self.root),
            link=self.link,
            files=tuple(files),
        )


def open_sources(step: ImportSettings, workspace: Workspace) -> list[SourceToImport]:
    """Look at the beginning of each source.

    Raises:
        UsageError: none is named, or it is unclear how one is read.
        DataError: one is not there, or holds nothing that can be imported.
    """
    if not step.sources:
        raise UsageError(
            "nothing to import is named: a folder of images with texts, a table, a JSON file, tars",
            hint="aurora import SOURCE --dry-run",
        )
    options = Options(
        image_column=step.image_column,
        video_column=step.video_column,
        text_column=step.text_column,
        group_column=step.group_column,
        question_column=step.question_column,
        encoding=step.encoding,
        caption_lines=step.caption_lines,
        whole_videos=step.whole_videos,
        rows=None if step.rows is None else _column_and_value(step.rows),
    )
    given_root = None if step.media_root is None else workspace.path(step.media_root)
    if given_root is not None and not given_root.is_dir():
        raise DataError(f"import_data.media_root: {given_root}: there is no such folder")
    found: list[SourceToImport] = []
    for given in map(workspace.path, step.sources):
        path, source_format = recognised(given, step.source_format)
        opened = source_format.open(path, options)
        if step.rows is not None and not opened.takes_rows:
            raise UsageError(f"--rows {step.rows}: all rows of {path} are taken; it is {'; '.join(opened.about)}")
        if step.whole_videos:
            opened = of_whole_videos(opened)
        is_known = opened.is_root_known or opened.holds_media
        root, moved = (given_root or opened.root, None) if is_known else find_root(opened, given_root)
        link = None if opened.archives or opened.holds_media else link_name(root, found)
        found.append(SourceToImport(path, source_format, opened, root, link, moved))
    return found


def _column_and_value(rows: str) -> tuple[str, str]:
    column, _, value = rows.partition("=")
    return column, value


def of_whole_videos(opened: Opened) -> Opened:
    """A source whose captions are about whole videos, whatever times it has beside them."""

    def rows(advance: Advance) -> Rows:
        for row in opened.rows(advance):
            yield row._replace(span=None) if isinstance(row, Item) else row

    return replace(opened, rows=rows)


def link_name(root: Path, before: Iterable[SourceToImport]) -> str:
    """A name below `.media` that no other folder has."""
    taken = {source.link: source.root for source in before if source.link is not None}
    plain = re.sub(r"[^\w.-]+", "-", root.resolve().name).strip(".-") or "media"
    name, number = plain, 2
    while name in taken and taken[name] != root:
        name, number = f"{plain}-{number}", number + 1
    return name


def find_root(opened: Opened, given: Path | None = None) -> tuple[Path, Moved | None]:
    """The folder that most of the first media are in: where the source lies, or a folder beside it, or one above.

    If fewer than half are, because paths begin on another machine, what of them is here. `given`: only there.
    """
    media = list(islice(_first_media(opened), MEDIA_LOOKED_FOR))
    candidates = [given] if given is not None else [*islice(_folders_near(opened.root), FOLDERS_LOOKED_IN)]
    best, most = candidates[0], 0
    for candidate in candidates:
        finder = FolderMedia(candidate, "media")
        count = sum(_is_there(finder, item) for item in media)
        if count > most:
            best, most = candidate, count
        if media and count == len(media):
            break
    moved = None if 2 * most >= len(media) else moved_media(media, candidates)
    return (best, None) if moved is None else (moved.here, moved)


def _first_media(opened: Opened) -> Iterator[Item]:
    for row in islice(opened.rows(unheard), ROWS_LOOKED_AT):
        if isinstance(row, Item) and row.media and row.content is None and not row.contents:
            yield row


def _is_there(finder: FolderMedia, item: Item) -> bool:
    try:
        found = finder.locate(item.media[0], item.kind)
        return found is not None or (item.other is not None and finder.locate(item.other, item.kind) is not None)
    except Rejection:
        return False


def _folders_near(root: Path) -> Iterator[Path]:
    for folder in (root, root.absolute().parent):
        yield folder
        yield from sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
