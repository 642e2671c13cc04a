"""checkpoint.json, resume/state.json and finished.json: what this version and earlier ones write."""

import json
from pathlib import Path

import pytest

from aurora_cli.errors import DataError
from aurora_cli.runs.metadata import CheckpointMetadata, Extent, FinishedRun, TrainedFolder, TrainState
from tests.run_files import metadata

EARLIER_STATE = {
    "step": 4,
    "samples_seen": 192,
    "samples_rejected": 1,
    "media_files": 192,
    "media_unreadable": 1,
    "usual_loss": 6.5,
    "order_hash": "c7cd",
    "recipe": {"train.seed": 0, "start": "runs/x/initial", "data folders": [["tokenized/x/y/merged", 1.0, 30]]},
}
"""As the first versions wrote it: without a schema number, and the mean loss under another name."""


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    finished = FinishedRun(
        stage="x", step=2, steps=2, checkpoint="step-00000002", order_hash="a", extent=Extent(epochs=1.0, max_steps=2)
    )
    state = TrainState(step=3, loss_ema=0.25, recipe={"train.betas": [0.9, 0.95], "start": {"vision_tower": "a"}})
    for number, stored in enumerate((metadata(), state, finished)):
        path = tmp_path / f"{number}.json"
        stored.write(path)
        assert type(stored).read(path) == stored
        assert json.loads(path.read_text())["schema"] == 1


def test_adapters_of_a_quantized_base_are_no_file_for_a_version_that_knows_of_none(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    quantized = metadata().model_copy(update={"quantize_base": "nf4"})
    quantized.write(path)
    assert json.loads(path.read_text())["schema"] == 2
    assert CheckpointMetadata.read(path) == quantized


def test_the_state_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps(EARLIER_STATE))
    state = TrainState.read(path)
    assert (state.step, state.samples_rejected, state.loss_ema) == (4, 1, 6.5)
    assert state.data == (TrainedFolder("tokenized/x/y/merged", 1.0, 30),)


def test_the_state_keeps_what_the_recipe_holds_to_the_letter(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    TrainState.model_validate(EARLIER_STATE).write(path)
    assert TrainState.read(path).recipe == EARLIER_STATE["recipe"]


@pytest.mark.parametrize("content", ["{", "[]", '{"step": "four"}', '{"schema": 99}', "{}"])
def test_a_damaged_or_later_file_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"checkpoint\.json: "):
        CheckpointMetadata.read(path)
