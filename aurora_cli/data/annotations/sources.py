"""Which annotation files are read, and whether their lists of images are videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import TokenizeSettings

LINE_SUFFIXES = (".jsonl", ".jsonl.gz")
"""What is looked for in folders; a `.json` there may be anything, so it has to be named."""


@dataclass(frozen=True)
class Source:
    """An annotation file, and whether its lists of images are videos."""

    path: Path
    video: bool


def sources(files: Sequence[Path], settings: TokenizeSettings) -> tuple[Source, ...]:
    return tuple(
        Source(file, settings.frame_lists == "clip" or file.parent.name in settings.clip_subsets) for file in files
    )
