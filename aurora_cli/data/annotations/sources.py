"""Which annotation files are read, whether their lists of images are videos, and where their media lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import TokenizeSettings
from aurora_cli.config.workspace import Workspace, media_root_of

LINE_SUFFIXES = (".jsonl", ".jsonl.gz")
"""What is looked for in folders; a `.json` there may be anything, so it has to be named."""


@dataclass(frozen=True)
class AnnotationSource:
    """An annotation file, and how its records are read."""

    path: Path
    images_are_video: bool
    """Whether a list of images is one video."""
    media_root: Path
    """What the paths of images and videos start from."""


def annotation_sources(
    files: Sequence[Path], settings: TokenizeSettings, workspace: Workspace
) -> tuple[AnnotationSource, ...]:
    """The files, each with what the settings say of its records."""
    media_root = None if settings.media_root is None else workspace.path(settings.media_root)
    return tuple(
        AnnotationSource(
            path=file,
            images_are_video=settings.frame_lists == "clip" or file.parent.name in settings.clip_subsets,
            media_root=media_root_of(file, media_root),
        )
        for file in files
    )
