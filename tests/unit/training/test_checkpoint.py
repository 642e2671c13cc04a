"""Checkpoints: whole or absent, pruned, and refused where they do not fit."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from aurora_cli.checkpoints.locate import locate
from aurora_cli.errors import DataError, HostError
from aurora_cli.io.atomic import disk_errors
from aurora_cli.runs.checkpoints import all_checkpoints, best, checkpoint_name, newest, pointed, prune
from aurora_cli.runs.metadata import EvaluationScore, Measured, TrainState, ValidationScore
from aurora_cli.training.checkpoint import TrainingCheckpoint, save, tensor_file
from aurora_cli.training.engine.zero_state import ParameterState
from tests.run_files import metadata

SHAPES = {"a.weight": (3, 5), "a.bias": (3,), "scalar": ()}
METADATA = metadata()


@dataclass
class Engine:
    """Numbers in place of a network."""

    seed: int = 0
    is_main: bool = True
    fail_at: str | None = None
    gathered: list[str] = field(default_factory=list)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return SHAPES

    def state(self) -> Iterator[ParameterState]:
        generator = torch.Generator().manual_seed(self.seed)
        for name, shape in SHAPES.items():
            if name == self.fail_at:
                with disk_errors(Path("full")):
                    raise OSError(28, "No space left on device")
            self.gathered.append(name)
            yield ParameterState(name, *(torch.randn(shape, generator=generator) for _ in range(3)))

    def barrier(self) -> None:
        pass


def test_what_is_saved_is_read_back_to_the_bit(tmp_path: Path) -> None:
    state = TrainState(step=7, samples_seen=70, samples_rejected=2, loss_ema=0.1, recipe={"train.seed": 1})
    path = save(tmp_path, Engine(3), METADATA, state, keep=2)
    read = TrainingCheckpoint(path)
    assert read.state == state
    for found, expected in zip(read.parameters(SHAPES), Engine(3).state(), strict=True):
        assert found.name == expected.name
        for one, other in zip(found[1:4], expected[1:4], strict=True):
            assert torch.equal(one, other)
        assert found.scales == expected.scales == ()
    assert set(load_file(path / "model.safetensors")) == set(SHAPES)
    assert json.loads((path / "checkpoint.json").read_text())["base"] == "runs/toy/initial"


def test_latest_names_the_newest_and_only_the_kept_stay(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        save(tmp_path, Engine(), METADATA, TrainState(step=step), keep=2)
    assert (tmp_path / "latest").read_text() == "step-00000006\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000004", "step-00000006"]


def scored(folder: Path, *losses: float | None, keep: int = 1, tokens: int = 9) -> None:
    """A checkpoint a step, each with its validation loss."""
    for step, loss in enumerate(losses, 1):
        score = None if loss is None else ValidationScore(loss=loss, samples=3, target_tokens=tokens)
        described = METADATA.model_copy(update={"validation": score})
        save(folder, Engine(), described, TrainState(step=step), keep=keep)


def test_the_best_on_validation_stays_beside_the_newest_and_is_named(tmp_path: Path) -> None:
    scored(tmp_path, 3.0, 2.0, None, 2.0, 2.5, 2.25)
    assert [path.name for path in all_checkpoints(tmp_path)] == ["step-00000002", "step-00000006"]
    assert (tmp_path / "best").read_text() == "step-00000002\n"
    found = best(tmp_path)
    assert found is not None
    assert (found.checkpoint.name, found.metric, found.value) == ("step-00000002", "validation_loss", 2.0)


def test_losses_of_other_samples_are_not_compared(tmp_path: Path) -> None:
    """Step 1 was measured on 9 tokens, steps 2 and 3 on 8: a lower loss of other samples says nothing."""
    scored(tmp_path, 1.0, keep=9)
    for step, loss in ((2, 3.0), (3, 4.0)):
        score = ValidationScore(loss=loss, samples=3, target_tokens=8)
        save(tmp_path, Engine(), METADATA.model_copy(update={"validation": score}), TrainState(step=step), keep=1)
    assert [path.name for path in all_checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]
    assert (tmp_path / "best").read_text() == "step-00000002\n"


def evaluated(folder: Path, metric: str, *measured: Measured) -> str:
    """A checkpoint a step, of a run that keeps the best by a metric; which it is."""
    for step, one in enumerate(measured, 1):
        described = METADATA.model_copy(update={"keep_best": metric, **one._asdict()})
        save(folder, Engine(), described, TrainState(step=step), keep=1)
    return (folder / "best").read_text().strip()


@pytest.mark.parametrize(
    ("metric", "values", "step"),
    [
        ("cider", (0.1, 0.4, 0.4, 0.2), 2),
        ("bleu_4", (0.3, 0.2, 0.1, 0.0), 1),
        ("rouge_l", (0.1, 0.2, 0.3, 0.2), 3),
        ("repetition", (0.5, 0.0, 0.25, 0.5), 2),
        ("loss", (3.0, 2.0, 1.0, 1.5), 3),
    ],
)
def test_the_best_by_any_metric_is_on_its_own_side(
    tmp_path: Path, metric: str, values: tuple[float, ...], step: int
) -> None:
    """The scores are high where they are good, the loss and the share of repetitions low."""
    worst = {"cider": 0.0, "bleu_4": 0.0, "rouge_l": 0.0, "repetition": 1.0}
    scores = [
        Measured(loss=value)
        if metric == "loss"
        else Measured(evaluation=EvaluationScore(captions=4, **{**worst, metric: value}))
        for value in values
    ]
    assert evaluated(tmp_path, metric, *scores) == f"step-0000000{step}"
    assert sorted(all_checkpoints(tmp_path)) == sorted(tmp_path / f"step-0000000{n}" for n in {step, 4})
    found = best(tmp_path)
    assert found is not None
    assert (found.checkpoint.name, found.metric, found.value) == (f"step-0000000{step}", metric, values[step - 1])


def test_scores_of_another_sample_are_not_compared(tmp_path: Path) -> None:
    few, many = (
        EvaluationScore(captions=count, cider=cider, bleu_4=0.0, rouge_l=0.0, repetition=0.0)
        for count, cider in ((4, 3.0), (8, 1.0))
    )
    assert evaluated(tmp_path, "cider", Measured(evaluation=few), Measured(evaluation=many)) == "step-00000002"


def test_a_run_that_goes_on_by_another_metric_has_another_best(tmp_path: Path) -> None:
    """Of the checkpoints that are left: what the newest goes by counts, and an older one has it too."""
    scores = [
        Measured(validation=ValidationScore(loss=loss, samples=3, target_tokens=9), loss=other)
        for loss, other in ((1.0, 3.0), (2.0, 2.0), (3.0, 1.0))
    ]
    for step, one in enumerate(scores, 1):
        save(tmp_path, Engine(), METADATA.model_copy(update=one._asdict()), TrainState(step=step), keep=3)
    assert (tmp_path / "best").read_text() == "step-00000001\n"
    by_loss = METADATA.model_copy(update={"keep_best": "loss", "loss": 4.0})
    save(tmp_path, Engine(), by_loss, TrainState(step=4), keep=3)
    assert (tmp_path / "best").read_text() == "step-00000003\n"


def test_nothing_is_best_where_nothing_was_measured(tmp_path: Path) -> None:
    scored(tmp_path, None, None)
    assert best(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000002"]


def test_best_and_latest_stand_for_the_checkpoints_that_they_name(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    scored(folder, 1.0, 2.0)
    assert pointed(folder / "best") == folder / "step-00000001"
    assert pointed(folder / "latest") == folder / "step-00000002"
    assert locate("checkpoints/best", tmp_path) == folder / "step-00000001"
    for other in (folder, tmp_path / "best", folder / "step-00000001"):
        assert pointed(other) == other


def test_a_full_disk_leaves_the_checkpoint_before_and_says_so(tmp_path: Path) -> None:
    save(tmp_path, Engine(), METADATA, TrainState(step=2), keep=2)
    with pytest.raises(HostError, match="disk is full"):
        save(tmp_path, Engine(fail_at="scalar"), METADATA, TrainState(step=4), keep=2)
    assert [path.name for path in all_checkpoints(tmp_path)] == ["step-00000002"]
    assert newest(tmp_path) == tmp_path / checkpoint_name(2)
    assert not (tmp_path / checkpoint_name(4)).exists()


def test_a_rank_that_writes_nothing_takes_part_in_every_gathering(tmp_path: Path) -> None:
    engine = Engine(is_main=False)
    save(tmp_path, engine, METADATA, TrainState(step=2), keep=1)
    assert engine.gathered == list(SHAPES)
    assert list(tmp_path.iterdir()) == []


def test_half_written_and_half_removed_checkpoints_do_not_count(tmp_path: Path) -> None:
    save(tmp_path, Engine(), METADATA, TrainState(step=2), keep=9)
    (tmp_path / ".step-00000004.partial").mkdir()
    (tmp_path / "step-00000006").mkdir()
    (tmp_path / ".step-00000001.old").mkdir()
    (tmp_path / "latest").write_text("step-00000006\n")
    assert newest(tmp_path) == tmp_path / "step-00000002"
    prune(tmp_path, 1)
    assert not (tmp_path / ".step-00000001.old").exists()
    assert newest(tmp_path / "nothing") is None


@pytest.mark.parametrize("shapes", [{**SHAPES, "b": (1,)}, {"a.weight": (3, 5)}, {**SHAPES, "a.bias": (4,)}])
def test_a_checkpoint_of_other_parts_is_refused(shapes: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    path = save(tmp_path, Engine(), METADATA, TrainState(step=2), keep=1)
    with pytest.raises(DataError, match="does not fit"):
        list(TrainingCheckpoint(path).parameters(shapes))


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a checkpoint to resume from"):
        TrainingCheckpoint(tmp_path)


def test_a_file_written_tensor_by_tensor_is_what_safetensors_reads(tmp_path: Path) -> None:
    with tensor_file(tmp_path / "x.safetensors", SHAPES) as file:
        for shape in SHAPES.values():
            file.write(torch.ones(shape, dtype=torch.float16))
    read = load_file(tmp_path / "x.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in read.items()} == SHAPES
    assert all(tensor.dtype == torch.float32 for tensor in read.values())
