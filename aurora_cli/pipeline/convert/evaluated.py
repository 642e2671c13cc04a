"""What `aurora evaluate` found of a model that is to be converted."""

from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.config.workspace import Workspace
from aurora_cli.errors import DataError
from aurora_cli.evaluation.stored import FILE, Evaluation
from aurora_cli.export.trained_ratio import measured


def note_of_evaluation(checkpoint: OpenedCheckpoint, source: str, workspace: Workspace) -> str | None:
    """The newest evaluation of `source` at its kept ratio and unmerged, in a sentence; none: there is none since its
    weights were written."""
    written = max((file.stat().st_mtime for file in checkpoint.files), default=0.0)
    files = sorted(workspace.root.glob(f"evaluation/*/{FILE}"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        if file.stat().st_mtime < written:
            return None
        try:
            evaluation = Evaluation.read(file)
        except DataError:
            continue
        if evaluation.model is None or workspace.path(evaluation.model).resolve() != workspace.path(source).resolve():
            continue
        if (note := measured(evaluation, checkpoint.merging)) is not None:
            return note
    return None
