"""Samples that a run is measured on: folders of their own, and how often what is measured."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.data.batches.validation import split_by_row
from aurora_cli.errors import DataError, UsageError
from aurora_cli.pipeline import merge_shards
from aurora_cli.pipeline.inspect.run import inspect_run
from aurora_cli.pipeline.tokenize import command as tokenize
from aurora_cli.pipeline.train import command as train
from aurora_cli.pipeline.train.build_data import plan_data
from aurora_cli.pipeline.train.data_folders import find_data, find_validation
from aurora_cli.pipeline.train.estimate.estimate import estimate_stage
from aurora_cli.pipeline.train.estimate.network import config_of
from aurora_cli.pipeline.train.plan import plan_stage
from aurora_cli.pipeline.train.result import TrainResult
from aurora_cli.reports.run import run_page
from tests.distributed.tiny_workspace import make, settings
from tests.run_files import json_lines

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
KEPT = "tokenized/validation/language/images"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage's data, and the same images kept from training under the names that `aurora import` gives them."""
    root = tmp_path_factory.mktemp("made")
    make(root, images=12, videos=2, texts=4)
    shutil.copytree(root / "data" / "language" / "images", root / "validation" / "language" / "images")
    return root


@pytest.fixture(scope="module")
def tokenized(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(made, tmp_path_factory.mktemp("tokenized") / "workspace"))
    tokenize.run(settings(root))
    merge_shards.run(settings(root))
    return root


def alone(root: Path, *validation: str, **changes: Any) -> Settings:
    """A stage from random weights, with `data.validation` as it is named."""
    one = settings(root, **{"after": None, "samples_every": 0, "trackers": (), **changes})
    return one.model_copy(update={"data": one.data.model_copy(update={"validation": validation or ("auto",)})})


def lines(run: Path) -> list[dict[str, Any]]:
    return json_lines(run / "metrics.jsonl")


def test_what_an_import_keeps_is_tokenized_and_merged_apart_without_a_name(tokenized: Path) -> None:
    written = {path.parent.relative_to(tokenized).as_posix() for path in (tokenized / "tokenized").rglob("merged")}
    assert written == {KEPT, "tokenized/language/images", "tokenized/language/texts", "tokenized/language/videos"}


@pytest.mark.slow
def test_before_the_first_step_the_loss_of_the_same_samples_is_that_of_the_first_step(root: Path) -> None:
    """A step takes all of the images, and the validation folder holds the same: until it has learned they agree."""
    train.run(alone(root, data=["tokenized/language/images"], max_steps=2))
    first, last = lines(root / "runs/language")
    assert first["validation_loss_at_start"] == pytest.approx(first["loss"], abs=1e-6)
    assert first["samples"] == last["validation_samples"] == 12
    assert first["taught_tokens"] == last["validation_taught_tokens"]
    assert last["validation_loss"] < first["validation_loss_at_start"]
    assert "validation_loss_at_start" not in last
    report = run_page(root / "runs/language", root)
    assert f"{first['validation_loss_at_start']:.4f} at first" in report
    assert KEPT in report


@pytest.mark.slow
def test_a_folder_to_measure_on_changes_nothing_that_is_learned(root: Path) -> None:
    class Noting(Reporter):
        def info(self, message: str) -> None:
            said.append(message)

    said: list[str] = []
    result = train.run(alone(root, max_steps=3), Noting())
    train.run(alone(root, "none", max_steps=3, run_dir="runs/without"))
    kept = ("loss", "grad_norm", "samples", "tokens")
    with_folder, without = ([[line[key] for key in kept] for line in lines(root / run)] for run in (
        "runs/language", "runs/without"
    ))  # fmt: skip
    assert with_folder == without
    assert f"validation: 12 samples of {KEPT}/merged" in said
    assert not any("validation_loss" in line for line in lines(root / "runs/without"))
    assert isinstance(result, TrainResult)
    losses = {
        line["step"]: line["validation_loss"] for line in lines(root / "runs/language") if "validation_loss" in line
    }
    assert list(losses) == [2, 3]
    lowest = min(losses, key=lambda step: losses[step])
    assert result.best is not None
    assert (Path(result.best).name, result.best_validation_loss) == (f"step-0000000{lowest}", losses[lowest])
    found = inspect_run(root / "runs/language")
    assert (found.best, found.validation_loss) == (Path(result.best).name, losses[3])


@pytest.mark.slow
def test_the_plan_and_the_dry_run_count_them(root: Path) -> None:
    plan = estimate_stage(alone(root), 1)
    assert plan.data is not None
    assert (plan.data.samples, plan.data.validation_samples) == (18, 12)
    assert "12 samples are kept for validation" in plan.lines()
    result = train.run(alone(root), dry_run=True)
    assert any(line.endswith(f"{KEPT}/merged (12 samples)") for line in result.lines())


def test_what_is_kept_and_not_tokenized_yet_is_named_with_what_to_type(made: Path) -> None:
    result = train.run(alone(made), dry_run=True)
    way = "aurora tokenize --split language && aurora merge-shards"
    assert f"validation/language/images: is kept for validation and not measured on yet: {way}" in result.lines()
    assert not any("not measured on" in line for line in train.run(alone(made, "none"), dry_run=True).lines())


def test_a_folder_may_be_named_and_what_it_cannot_be_is_refused(root: Path) -> None:
    def found(*names: str) -> list[tuple[str, int]]:
        one, workspace = alone(root, *names), Workspace(root)
        folders = find_validation(one, workspace, find_data(one, workspace))
        return [(workspace.relative(folder.folder), folder.rows) for folder in folders]

    assert found(KEPT) == found(f"{KEPT}/merged") == found("auto") == found("auto", KEPT) == [(f"{KEPT}/merged", 12)]
    assert found("none") == []
    with pytest.raises(UsageError, match="tokenized/language/texts/merged is trained on, too"):
        found("tokenized/language/texts")
    with pytest.raises(
        UsageError, match=r"data\.validation: validation/language/images/images\.jsonl is a file"
    ) as caught:
        found("validation/language/images/images.jsonl")
    assert f"--output {KEPT} && aurora merge-shards {KEPT}" in str(caught.value.hint)
    with pytest.raises(DataError, match=r"data\.validation: .*nowhere: there is no such folder"):
        found("tokenized/nowhere")


def test_a_folder_in_another_template_is_refused(root: Path) -> None:
    path = root / KEPT / "merged" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "template": "plain"}))
    with pytest.raises(UsageError, match=f"{KEPT}/merged: was written with the template plain"):
        train.run(alone(root, max_steps=1))


@pytest.mark.slow
def test_samples_to_measure_on_that_no_pack_holds_are_listed_as_such(root: Path) -> None:
    """A pack holds the one frame of an image, and not the three of a video."""
    texts = ["tokenized/language/texts"]
    train.run(alone(root, KEPT, "tokenized/language/videos", data=texts, max_steps=2, pack_frames=2))
    listed = json_lines(root / "runs/language/rejected.jsonl")
    assert [(line["step"], line["id"], line["held_out"]) for line in listed] == [
        (0, "video-0", True),
        (0, "video-1", True),
    ]
    assert lines(root / "runs/language")[-1]["validation_samples"] == 12


def group_records(root: Path) -> None:
    """The annotations once more, four images a group, tokenized again."""
    path = root / "data/language/images/images.jsonl"
    records = json_lines(path)
    path.write_text("".join(json.dumps({**one, "group": n // 4}) + "\n" for n, one in enumerate(records)))
    shutil.rmtree(root / "tokenized/language/images")
    tokenize.run(settings(root))
    merge_shards.run(settings(root))


def shared(root: Path, share: float, **changes: Any) -> Settings:
    one = alone(root, "none", data=["tokenized/language/images"], **changes)
    return one.model_copy(update={"data": one.data.model_copy(update={"validation_share": share})})


def kept(one: Settings) -> list[int]:
    return plan_data(plan_stage(one), config_of(one)).corpus.validation.tolist()


def test_a_share_is_exact_and_records_of_a_group_lie_on_one_side(root: Path) -> None:
    assert len(kept(shared(root, 0.25))) == 3
    group_records(root)
    found = kept(shared(root, 0.25))
    assert len(found) == 4
    assert len({number // 4 for number in found}) == 1


@pytest.mark.slow
def test_a_run_that_was_begun_by_the_row_goes_on_so(root: Path) -> None:
    group_records(root)
    train.run(shared(root, 0.25, max_steps=2))
    state = root / "runs/language/checkpoints/step-00000002/resume/state.json"
    content = json.loads(state.read_text())
    assert content["recipe"].pop("validation samples by") == "medium"
    assert len(kept(shared(root, 0.25, max_steps=4))) == 4
    state.write_text(json.dumps(content))
    by_row = kept(shared(root, 0.25, max_steps=4))
    assert by_row == sorted(split_by_row(np.arange(12), 0.25).tolist())
    train.run(shared(root, 0.25, max_steps=4))
    assert [line["validation_samples"] for line in lines(root / "runs/language") if "validation_loss" in line] == [4, 3]
    assert kept(shared(root, 0.25, max_steps=6)) == by_row
