"""Which annotation files are read, and whether their lists of images are videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import TokenizeSettings

LINE_SUFFIXES = (".jsonl", ".jsonl.gz")
"""What is looked for in folders; a `.json` there may be anything, so it has to be named."""


@dataclass(frozen=True)
class AnnotationSource:
    """An annotation file, and how its records are read."""

    path: Path
    images_are_video: bool
    """Whether a list of images is one video."""


def annotation_sources(files: Sequence[Path], settings: TokenizeSettings) -> tuple[AnnotationSource, ...]:
    """The files, each with what the settings say of its records."""
    return tuple(
        AnnotationSource(file, settings.frame_lists == "clip" or file.parent.name in settings.clip_subsets)
        for file in files
    )
