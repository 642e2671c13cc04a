"""Which checkpoint of a run is the newest: one rule for every command."""

from pathlib import Path

import pytest

from aurora_cli.config.workspace import Workspace
from aurora_cli.errors import DataError
from aurora_cli.pipeline.caption import command as caption
from aurora_cli.pipeline.convert.command import run as convert
from aurora_cli.pipeline.inspect.run import inspect_run
from aurora_cli.pipeline.train.plan import find_resume, find_start
from aurora_cli.runs.checkpoints import all_checkpoints, newest
from tests.captioners import GOLDEN, caption_settings, convert_settings, make_runs

NEWEST = "step-00000002"


@pytest.fixture(params=["absent", "of another step"])
def workspace(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Two runs, of which no file says rightly which checkpoint is the newest."""
    make_runs(tmp_path)
    for latest in tmp_path.glob("runs/*/checkpoints/latest"):
        latest.unlink()
        if request.param != "absent":
            latest.write_text("step-00000009\n")
    return tmp_path


def test_without_a_right_name_in_latest_the_checkpoint_of_the_highest_step_is_taken(workspace: Path) -> None:
    folder = workspace / "runs/language/checkpoints"
    (folder / "step-00000004").mkdir()  # half removed: its description is gone
    assert newest(folder) == folder / NEWEST
    assert all_checkpoints(folder) == [folder / NEWEST]


def test_train_goes_on_from_it_and_the_next_stage_starts_from_it(workspace: Path) -> None:
    settings = convert_settings(workspace)
    path = f"runs/language/checkpoints/{NEWEST}"
    assert find_resume(settings, Workspace(workspace), workspace / "runs/language") == workspace / path
    train = settings.train.model_copy(update={"init_from": "runs/language"})
    start = find_start(settings.model_copy(update={"train": train}), Workspace(workspace), workspace / "runs/next")
    assert start.base == path


def test_convert_takes_it(workspace: Path) -> None:
    result = convert(convert_settings(workspace, verify=False))
    assert (result.done, result.stages) == (True, ("projection", "language"))


def test_caption_takes_it(workspace: Path) -> None:
    image = GOLDEN / "pixels" / "images" / "grey_90x70.png"
    result = caption.run(caption_settings(workspace, str(image), model="runs/language", max_new_tokens=2))
    assert len(result.captions) == 1


def test_inspect_names_it(workspace: Path) -> None:
    report = inspect_run(workspace / "runs/language")
    assert (report.checkpoints, report.latest) == ((NEWEST,), NEWEST)


def test_a_run_without_any_checkpoint_says_so(workspace: Path) -> None:
    (workspace / f"runs/language/checkpoints/{NEWEST}/checkpoint.json").unlink()
    with pytest.raises(DataError, match="has no checkpoint yet") as caught:
        convert(convert_settings(workspace, checkpoint="runs/language"))
    assert caught.value.hint == "aurora train --stage language"
