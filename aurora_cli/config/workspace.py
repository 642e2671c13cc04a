"""Where things lie in a workspace, as functions of its root."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """A folder that all commands of one training set-up share."""

    root: Path

    def path(self, path: Path | str) -> Path:
        """`path` as the user means it: relative ones start at the root."""
        return self.root / Path(path).expanduser()

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def tokenized(self) -> Path:
        return self.root / "tokenized"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def run(self, stage: str) -> Path:
        return self.runs / stage

    def export(self, layout: str) -> Path:
        return self.root / "export" / layout
