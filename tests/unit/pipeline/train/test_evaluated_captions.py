"""Scores of captions as a run goes on: right ones, on their steps, and no number of the run is another for them."""

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from aurora_cli.config.resolve import resolve
from aurora_cli.config.settings import Settings
from aurora_cli.console import Reporter
from aurora_cli.errors import EXIT_USAGE, UsageError
from aurora_cli.pipeline.inspect.run import inspect_run
from aurora_cli.pipeline.train import command as train
from aurora_cli.pipeline.train.captions.scores import Written, scores_of
from aurora_cli.pipeline.train.captions.writing import undisturbed
from aurora_cli.pipeline.train.result import TrainResult
from aurora_cli.reports.run import run_page
from aurora_cli.runs.lines import CAPTION_SCORES
from tests.distributed.tiny_workspace import make, settings
from tests.run_files import json_lines

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tokenized")
    make(root, images=20, videos=6, texts=4)
    return root


def evaluated(root: Path, keep_best: str = "validation_loss", **changes: Any) -> Settings:
    """A stage from random weights that keeps some of its samples apart, and evaluates 6 of them every second step."""
    how = {"after": None, "trackers": (), "samples_every": 0, "evaluate_every": 2, "evaluate_samples": 6, **changes}
    one = settings(root, **how)
    tree = one.model_dump(mode="json")
    tree["data"]["validation_share"] = 0.3
    tree["checkpoint"]["keep_best"] = keep_best
    return Settings.model_validate(tree)


def lines(root: Path) -> list[dict[str, Any]]:
    return json_lines(root / "runs/language/metrics.jsonl")


def lasting(root: Path, *, scores: bool = True) -> list[dict[str, Any]]:
    """The metrics that do not depend on the machine."""
    left_out = {"step_s", "tokens_per_s", "max_mem_mb"} | (set() if scores else {*CAPTION_SCORES, "evaluated_captions"})
    return [{key: value for key, value in line.items() if key not in left_out} for line in lines(root)]


def test_scores_are_those_of_the_captions_worked_by_hand() -> None:
    """Two samples with no word in common: of the one the caption is the reference (CIDEr-D 10, ROUGE-L 1), of the other
    it has nothing of it and says one word eight times (of five 4-grams four are said before). Of twelve words four, of
    ten pairs three, of eight triples two, of six 4-grams one are the reference's, and nothing is too short."""
    same = "a red kite flies"
    found = scores_of([Written(0, same, same), Written(1, "the " * 8, "two dogs sleep here")])
    assert found == pytest.approx(
        {
            "cider": 10.0 / 2,
            "bleu_4": (4 / 12 * 3 / 10 * 2 / 8 * 1 / 6) ** 0.25,
            "rouge_l": 1.0 / 2,
            "repetition": 4 / 5 / 2,
        },
        abs=1e-6,
    )
    assert found.keys() == CAPTION_SCORES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_no_number_of_a_run_is_another_for_its_evaluation(root: Path, dropout: float) -> None:
    adapters = {"language_model": {"rank": 2, "dropout": dropout}} if dropout else {}
    train.run(evaluated(root, max_steps=5, lora=adapters))
    found, weights = (
        lasting(root, scores=False),
        (root / "runs/language/checkpoints/step-00000005").rglob("*.safetensors"),
    )
    with_scores = {path.name: path.read_bytes() for path in weights}
    steps = [line["step"] for line in lines(root) if "cider" in line]
    assert steps == [2, 4, 5]
    shutil.rmtree(root / "runs")
    train.run(evaluated(root, max_steps=5, lora=adapters, evaluate_every=0))
    assert not any("cider" in line for line in lines(root))
    assert lasting(root) == found
    assert {
        path.name: path.read_bytes()
        for path in (root / "runs/language/checkpoints/step-00000005").rglob("*.safetensors")
    } == with_scores


def test_a_network_in_training_is_afterwards_what_it_was() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2)))
    network.train()
    network[1][1].eval()  # one part of it is not in training
    torch.manual_seed(3)
    before = (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())
    how = (torch.get_num_threads(), torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled())
    with pytest.raises(RuntimeError, match="on the way"), undisturbed(network, torch.device("cpu")):
        assert not any(part.training for part in network.modules())
        torch.rand(5)
        raise RuntimeError("on the way")
    assert [part.training for part in network.modules()] == [True, True, True, True, False]
    assert (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()) == before
    assert how == (
        torch.get_num_threads(), torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_that_goes_on_has_the_scores_of_one_that_never_stopped(root: Path) -> None:
    train.run(evaluated(root, max_steps=4))
    whole = lasting(root)
    assert [line["evaluated_captions"] for line in whole if "cider" in line] == [6, 6]
    train.run(evaluated(root, max_steps=4, resume="runs/language/checkpoints/step-00000002"))
    assert lasting(root) == whole


@pytest.mark.slow
def test_the_best_checkpoint_by_a_score_stays_and_every_checkpoint_has_one(root: Path) -> None:
    """Evaluated every third step, saved every second: what is saved is evaluated, too."""
    result = train.run(evaluated(root, "repetition", max_steps=9, evaluate_every=3))
    scores = {line["step"]: line["repetition"] for line in lines(root) if "repetition" in line}
    assert list(scores) == [2, 3, 4, 6, 8, 9]
    saved = {step: scores[step] for step in (2, 4, 6, 8, 9)}
    lowest = min(saved, key=lambda step: saved[step])
    assert isinstance(result, TrainResult)
    assert result.best is not None
    assert Path(result.best).name == f"step-0000000{lowest}"
    assert (root / "runs/language/checkpoints/best").read_text() == f"step-0000000{lowest}\n"
    assert (result.best_by, result.best_validation_loss) == (f"lowest repetition {saved[lowest]:.4f}", None)
    assert any(line.startswith(f"lowest repetition {saved[lowest]:.4f}: ") for line in result.lines())
    found = inspect_run(root / "runs/language")
    ciders = [line["cider"] for line in lines(root) if "cider" in line]
    assert (found.best, found.cider, found.highest_cider) == (Path(result.best).name, ciders[-1], max(ciders))
    page = run_page(root / "runs/language", root)
    assert f"highest {max(ciders):.4f} at step" in page
    assert "of 6 captions of validation samples" in page


def test_a_metric_that_is_none_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"checkpoint\.keep_best") as caught:
        resolve(sets=["checkpoint.keep_best=spice"], environment={})
    for name in ("validation_loss", "loss", *CAPTION_SCORES):
        assert name in str(caught.value)
    assert caught.value.exit_code == EXIT_USAGE


def test_what_cannot_be_evaluated_is_refused_before_anything_is_touched(root: Path) -> None:
    with pytest.raises(UsageError, match=r"cider is measured only where train\.evaluate_every is set") as caught:
        train.run(evaluated(root, "cider", evaluate_every=0))
    assert caught.value.hint == "--set train.evaluate_every=2"
    one = evaluated(root)
    one = one.model_copy(update={"data": one.data.model_copy(update={"validation_share": 0.0})})
    with pytest.raises(UsageError, match="stage 'language' has no validation samples"):
        train.run(one)
    assert not (root / "runs").exists()


@pytest.mark.slow
def test_validation_samples_without_media_are_said_to_give_no_scores(root: Path) -> None:
    class Noting(Reporter):
        def warning(self, message: str) -> None:
            warnings.append(message)

    warnings: list[str] = []
    train.run(evaluated(root, max_steps=2, data=["tokenized/language/texts/merged"]), Noting())
    assert warnings == ["no validation sample has an image or a video and an answer: none is evaluated"]
    assert not any("cider" in line for line in lines(root))
