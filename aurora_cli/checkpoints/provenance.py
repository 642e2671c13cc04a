"""What a stage was trained on, as far as the workspace still says it: its folders of text, their files, their terms."""

from pathlib import Path

from aurora_cli.checkpoints.facts import AnnotationFile, StageData
from aurora_cli.data.download.origin import Origin
from aurora_cli.data.download.origins import recorded_origins
from aurora_cli.errors import DataError
from aurora_cli.runs.layout import RESUME_FOLDER, STATE_FILE
from aurora_cli.runs.metadata import TrainedFolder, TrainState


def data_of(step: Path, root: Path | None) -> tuple[StageData, ...]:
    """The data of the stage that wrote the checkpoint `step`.

    What is no longer there, or was never recorded, is left out: a card with gaps is better than no export.
    """
    roots = [root] if root is not None else list(step.resolve().parents)
    return tuple(_data_in(roots, *one) for one in _folders_of(step))


def _folders_of(step: Path) -> tuple[TrainedFolder, ...]:
    try:
        state = TrainState.read_if_there(step / RESUME_FOLDER / STATE_FILE)
    except DataError:
        return ()
    return () if state is None else state.data


def _data_in(roots: list[Path], folder: str, weight: float, records: int) -> StageData:
    """What the folder's manifest says, in the first of the workspaces that has one."""
    from aurora_cli.data.token_store.manifest import merged_inputs  # with pyarrow, which an export needs not

    workspace = next((root for root in roots if (root / folder).exists()), roots[0])
    inputs = merged_inputs(workspace / folder)
    subsets = dict.fromkeys(Path(file.path).parent for file in inputs)
    return StageData(
        folder=folder,
        weight=weight,
        records=records,
        files=tuple(AnnotationFile(path=file.path, sha256=file.sha256) for file in inputs),
        origins=tuple(origin for subset in subsets for origin in _origins(workspace / subset)),
    )


def _origins(folder: Path) -> tuple[Origin, ...]:
    try:
        recorded = recorded_origins(folder)
    except (DataError, TypeError):  # a list of another version
        return ()
    return tuple(origin for origins in recorded.values() for origin in origins)
