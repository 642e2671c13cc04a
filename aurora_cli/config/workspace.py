"""Where things lie in a workspace, as functions of its root."""

from dataclasses import dataclass
from pathlib import Path

from aurora_cli.errors import UsageError

VALIDATION = "validation"
"""Folder of what is kept from training: in the workspace its annotations, in `tokenized` its shards."""


@dataclass(frozen=True)
class Workspace:
    """A folder that all commands of one training set-up share."""

    root: Path

    def path(self, path: Path | str) -> Path:
        """`path` as the user means it: relative ones start at the root."""
        return self.root / Path(path).expanduser()

    def relative(self, path: Path) -> str:
        """A path as files keep it: relative to the root if it lies in it, so that a workspace can be moved, else
        absolute.

        >>> Workspace(Path("/w")).relative(Path("/w/data/a.jsonl")), Workspace(Path("/w")).relative(Path("/x/a.jsonl"))
        ('data/a.jsonl', '/x/a.jsonl')
        """
        path, root = path.absolute(), self.root.absolute()
        return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def validation(self) -> Path:
        """Annotations that are kept from training, by split and subset as in `data`."""
        return self.root / VALIDATION

    @property
    def tokenized(self) -> Path:
        return self.root / "tokenized"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def run(self, stage: str) -> Path:
        return self.runs / stage

    @property
    def features(self) -> Path:
        """What frozen vision towers gave, for all runs."""
        return self.runs / "features"

    def export(self, layout: str) -> Path:
        return self.root / "export" / layout


def check_folder(folder: Path, setting: str) -> None:
    """
    Raises:
        UsageError: what is to be a folder, or to lie in folders, is a file or below one.
    """
    file = next((each for each in (folder, *folder.parents) if each.is_file()), None)
    if file is not None:
        what = "is" if file == folder else f"{file} is"
        raise UsageError(f"{setting}: {folder}: {what} a file, where a folder was expected")


def media_root_of(annotation_file: Path, media_root: Path | None = None) -> Path:
    """What the paths of an annotation file's images and videos start from: `media_root`, or else the file's folder.

    >>> media_root_of(Path("data/vision/m3it/m3it.jsonl"))
    PosixPath('data/vision/m3it')
    """
    return annotation_file.parent if media_root is None else media_root
