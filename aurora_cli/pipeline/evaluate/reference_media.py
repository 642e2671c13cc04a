"""The media that references are about, where nobody names others to caption."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from aurora_cli.captioning.job.row_media import RowMedia
from aurora_cli.captioning.job.rows import Row
from aurora_cli.config.workspace import Workspace
from aurora_cli.data.annotations.keys import Reading
from aurora_cli.data.annotations.records import Rejection
from aurora_cli.data.importing.media_source import spellings
from aurora_cli.data.media.listing import Medium, medium_of
from aurora_cli.data.media.remote.roots import Lookup
from aurora_cli.evaluation.references import About, ReferenceSet


class ReferenceMedia(NamedTuple):
    """What can be captioned of the media that references name."""

    rows: tuple[Row, ...]
    """Known by the names of their references."""
    missing: tuple[str, ...]
    """Names of those that were not found."""


def reference_media(
    references: ReferenceSet,
    folder: Path,
    workspace: Workspace,
    *,
    lookups: Sequence[Lookup] = (),
    home: str | None = None,
) -> ReferenceMedia:
    """Look for each medium in a folder, then in the workspace, also by the end of its path alone.

    `lookups` go before these; references from a bucket, at the URL `home`, name no files of this machine.
    """
    media = RowMedia(folder, workspace.root, allow_remote=False, lookups=lookups)
    rows: list[Row] = []
    missing: list[str] = []
    for names, about in zip(references.names, references.about, strict=True):
        medium = _found(about, media)
        if medium is not None and home is not None and not medium.is_remote and medium.content is None:
            medium = None
        if medium is None:
            missing.append(names[0])
        else:
            rows.append(Row(0, _as_named(medium, workspace), names[0], about.span, about.question))
    return ReferenceMedia(tuple(rows), tuple(missing))


def _found(about: About, media: RowMedia) -> Medium | None:
    for given in _given(about):
        try:
            medium = media.find(given, Reading()).medium
        except Rejection:
            continue
        if medium.content is not None or medium.is_remote or medium.path.exists():
            return medium
    return None


def _given(about: About) -> Iterator[object]:
    """What may be looked up, as a row of a list of media would say it."""
    if about.is_frame_list:
        yield [*about.paths]
        return
    for path in about.paths:
        yield from spellings(path)


def _as_named(medium: Medium, workspace: Workspace) -> Medium:
    """By the name that it has where it is named itself."""
    if medium.content is not None or medium.frames or medium.is_remote:
        return medium
    return medium_of(workspace.relative(medium.path), workspace.root)
