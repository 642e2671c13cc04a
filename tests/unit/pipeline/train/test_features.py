"""`train.cache_features`: the run is the run, and the tower is asked once for each medium."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from aurora_cli.config.presets import presets_folder
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.data.batches.row_media import Medium
from aurora_cli.data.features import writer as writing
from aurora_cli.data.features.space import FeatureSpace
from aurora_cli.errors import Interrupted, UsageError
from aurora_cli.models import visual_tokens
from aurora_cli.pipeline.inspect.run import inspect_runs
from aurora_cli.pipeline.train import command as train
from aurora_cli.pipeline.train.estimate.estimate import estimate_stage
from aurora_cli.runs.find import newest_finished_run
from aurora_cli.training.trainer import Trainer
from tests.distributed import tiny_workspace
from tests.run_files import json_lines

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.slow,
]
LORA = {"language_model": {"rank": 2, "targets": ["q_proj", "down_proj"]}}
TINY = yaml.safe_load((presets_folder() / "tiny/preset.yaml").read_text())["model"] | {
    "tokenizer": str(tiny_workspace.TOKENIZER)
}
EPOCHS = 2


class Heard(Reporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.lines: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def info(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tokenized")
    tiny_workspace.make(root, "language", images=12, videos=4, texts=3)
    return root


def stage(root: Path, run: str, *, keep: bool, kind: str = "projection", **changes: Any) -> Settings:
    """A stage that leaves the tower frozen, on the tiny preset's network; `changes` by section, or of `train`."""
    how: dict[str, Any] = {
        "after": None,
        "projector": {"lr": 3e-3},
        "vision_tower": None,
        "language_model": {"lr": 3e-3} if kind == "lora" else None,
        "lora": LORA if kind == "lora" else {},
        "data": [str(p) for p in sorted((root / "tokenized/language").glob("*/merged"))],
        "max_steps": None,
        "epochs": EPOCHS,
        "cache_features": keep,
        "run_dir": f"runs/{run}",
        "trackers": [],
        "samples_every": 0,
        "pack_tokens": 128,
        "pack_frames": 16,
        "global_batch_packs": 1,  # or a step takes a medium twice, where one epoch meets the next
    }
    tree = tiny_workspace.settings(root, "projection").model_dump(mode="json")
    tree["model"] = {**TINY}
    tree["train"] |= how | {name: value for name, value in changes.items() if name not in tree}
    for section in changes.keys() & tree.keys():
        tree[section] |= changes[section]
    return Settings.model_validate(tree)


def losses(root: Path, run: str) -> list[tuple[float, float | None, float]]:
    """Loss, validation loss and gradient norm of each step."""
    lines = json_lines(root / f"runs/{run}/metrics.jsonl")
    return [(line["loss"], line.get("validation_loss"), line["grad_norm"]) for line in lines]


def same(root: Path, one: str, other: str, rel: float = 2e-6) -> bool:
    """Whether two runs have the same numbers, of as many steps."""
    ours, theirs = losses(root, one), losses(root, other)
    pairs = [pair for a, b in zip(ours, theirs, strict=True) for pair in zip(a, b, strict=True)]
    return all(a == b if a is None else a == pytest.approx(b, rel=rel) for a, b in pairs)


@pytest.mark.parametrize("kind", ["projection", "lora"])
def test_each_sample_in_a_row_of_its_own_the_losses_are_the_same_to_the_bit(kind: str, root: Path) -> None:
    """Images alone: the tower takes one frame at a time, whichever epoch it is, so its kernels have one shape."""
    alone: dict[str, Any] = {
        "data": {"batching": "padded", "validation_share": 0.2}, "micro_batch_packs": 1, "global_batch_packs": 3
    }  # fmt: skip
    alone["train"] = {"data": [str(root / "tokenized/language/images/merged")]}
    train.run(stage(root, "plain", keep=False, kind=kind, **alone))
    kept = train.run(stage(root, "kept", keep=True, kind=kind, **alone))
    assert losses(root, "kept") == losses(root, "plain")
    assert kept.features_encoded == 12  # each once, those of the validation too
    assert kept.features_read > 12


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("projection", {}),
        ("lora", {}),
        ("lora", {"data": {"batching": "padded"}, "micro_batch_packs": 2, "global_batch_packs": 2}),
        ("lora", {"merging": {"kept_ratio": 1.0}}),
        ("projection", {"merging": {"kept_ratio": 0.5, "slowfast": True}, "data": {"validation_share": 0.2}}),
        ("lora", {"data": {"batching": "grouped"}, "precision": "bf16"}),
    ],
    ids=["packed", "adapters", "padded", "whole frames", "slow-fast", "bf16"],
)
def test_whatever_the_run_its_losses_are_those_without(kind: str, changes: dict[str, Any], root: Path) -> None:
    """Images and videos in packs that differ from epoch to epoch: the tower takes other numbers of frames at once, by
    which a matrix product may round its last bit otherwise (a relative 6e-8). Over the steps of both epochs that is
    no more than 2e-6 of a loss or norm; in bf16 all of it is lost in what the precision rounds."""
    train.run(stage(root, "plain", keep=False, kind=kind, **changes))
    kept = train.run(stage(root, "kept", keep=True, kind=kind, **changes))
    assert same(root, "plain", "kept", 2e-6 if changes.get("precision") != "bf16" else 2e-2)
    if "global_batch_packs" not in changes:
        assert kept.features_encoded == 16
    assert (kept.features_read or 0) >= 16
    assert "features: " in "\n".join(kept.lines())


def test_a_second_run_and_the_next_stage_never_ask_the_tower(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage after has the same tower, out of another checkpoint; not a pixel is read."""
    train.run(stage(root, "plain", keep=False))
    train.run(stage(root, "plain-next", keep=False, kind="lora", init_from="runs/plain"))
    first = train.run(stage(root, "first", keep=True))
    assert first.features_kept_bytes == first.features_read_bytes
    monkeypatch.setattr(visual_tokens, "encode", lambda *_: pytest.fail("the tower ran"))
    monkeypatch.setattr(Medium, "pixels", lambda *_: pytest.fail("a pixel was read"))
    second = train.run(stage(root, "second", keep=True))
    after = train.run(stage(root, "next", keep=True, kind="lora", init_from="runs/first"))
    assert (second.features_encoded, after.features_encoded) == (0, 0)
    assert (second.features_read, after.features_read) == (16 * EPOCHS, 16 * EPOCHS)
    assert same(root, "plain", "second")
    assert same(root, "plain-next", "next")
    assert len(list((root / "runs/features").iterdir())) == 1


def test_a_run_that_is_stopped_goes_on_with_what_it_has_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train.run(stage(root, "plain", keep=False, kind="lora"))
    monkeypatch.setattr("aurora_cli.training.trainer.Trainer._step", _stopping(2))
    with pytest.raises(Interrupted):
        train.run(stage(root, "kept", keep=True, kind="lora"))
    monkeypatch.undo()
    rest = train.run(stage(root, "kept", keep=True, kind="lora"))
    assert rest.resumed_from == 2
    assert same(root, "plain", "kept")
    assert 0 < (rest.features_encoded or 0) < 16


def _stopping(step: int) -> Callable[..., Any]:
    real = Trainer._step

    def stopping(self: Trainer, before: Any, steps: Any) -> Any:
        done = real(self, before, steps)
        return done._replace(stop=done.state.step == step)

    return stopping


def test_another_tower_or_other_pixels_have_other_features(root: Path) -> None:
    """Each change of what features are of makes a folder of its own; what only the data or the language model have
    to do with does not."""
    train.run(stage(root, "first", keep=True, max_steps=1))
    changes: list[dict[str, Any]] = [
        {"seed": 1},  # random weights: another tower
        {"model": TINY | {"feature_layer": -1}},
        {"model": TINY | {"image_mean": [0.5, 0.46, 0.46]}},
        {"model": TINY | {"image_std": [1.0, 1.0, 0.9]}},
        {"model": TINY | {"image_size": 70}},
        {"merging": {"kept_ratio": 0.75}},
        {"merging": {"slowfast": True}},
        {"merging": {"proportional_attention": False}},
        {"merging": {"schedule": "constant"}},
        {"precision": "bf16"},
    ]
    for number, change in enumerate(changes, 1):
        initial = root / f"runs/{number}"
        if "seed" not in change and "model" not in change:  # the same weights
            initial.mkdir(parents=True)
            shutil.copytree(root / "runs/first/initial", initial / "initial")
        train.run(stage(root, str(number), keep=True, max_steps=1, **change))
    spaces = [FeatureSpace.read(path) for path in (root / "runs/features").glob("*/features.json")]
    assert len({space.name for space in spaces}) == len(spaces) == 1 + len(changes)
    assert {space.name for space in spaces} == {path.name for path in (root / "runs/features").iterdir()}
    shutil.copytree(root / "runs/first/initial", root / "runs/same/initial")
    same_tower = train.run(stage(root, "same", keep=True, max_steps=1, pack_tokens=64, kind="lora", max_grad_norm=0.5))
    assert len(list((root / "runs/features").iterdir())) == len(spaces)
    assert same_tower.features_encoded is not None


def test_a_medium_that_changed_is_encoded_anew(root: Path) -> None:
    """With its size and time set back, as it were never changed."""
    train.run(stage(root, "first", keep=True))
    path = root / "data/language/images/3.png"
    before = path.stat()
    Image.new("L", (33, 28), 255).save(path)
    path.write_bytes(path.read_bytes().ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    train.run(stage(root, "plain", keep=False))
    again = train.run(stage(root, "again", keep=True))
    assert again.features_encoded == 1
    assert same(root, "plain", "again")
    assert not same(root, "first", "again")


@pytest.mark.parametrize("how", ["full disk", "limit", "no folder"])
def test_where_features_cannot_be_kept_training_goes_on_and_says_so_once(
    how: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.run(stage(root, "plain", keep=False))
    changes: dict[str, Any] = {}
    if how == "full disk":
        real, calls = os.write, iter(range(1000))

        def write(descriptor: int, content: Any) -> int:
            if next(calls) >= 9:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(descriptor, content)

        monkeypatch.setattr(writing.os, "write", write)
    elif how == "limit":
        changes["cache_features_gb"] = 9e-6  # of 2 KB a frame
    else:
        (root / "runs/features").write_text("a file")
    heard = Heard()
    kept = train.run(stage(root, "kept", keep=True, **changes), heard)
    assert same(root, "plain", "kept")
    assert len(heard.warnings) == 1
    assert "features" in heard.warnings[0]
    words = {"full disk": "No space left", "limit": "train.cache_features_gb", "no folder": "is no folder"}
    assert words[how] in heard.warnings[0]
    if how == "no folder":
        assert kept.features_read is None
        return
    assert 0 < (kept.features_read or 0) < 16
    assert 0 < (kept.features_kept_bytes or 0) <= (9000 if how == "limit" else 9 * 3 * 2048)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vision_tower": {"lr": 2e-4}}, r"trains the vision tower \(train\.vision_tower\.lr is 0\.0002\)"),
        (
            {"vision_tower": {"lr": 2e-4}, "lora": {"vision_tower": {"rank": 3}}},
            r"trains the vision tower \(train\.lora\.vision_tower\.rank is 3\)",
        ),
    ],
)
def test_a_stage_that_trains_the_tower_is_refused_with_the_setting_that_does(
    changes: dict[str, Any], words: str, root: Path
) -> None:
    for looks in ({}, {"plan": True}):
        with pytest.raises(UsageError, match=words) as caught:
            train.run(stage(root, "kept", keep=True, **changes, **looks))
        assert caught.value.exit_code == 2
    assert not (root / "runs").exists()


@pytest.mark.parametrize(
    ("dropout", "kind"), [("attention_dropout", "clip_vision_model"), ("drop_path_rate", "dinov2")]
)
def test_a_tower_that_leaves_something_out_is_refused(dropout: str, kind: str, root: Path) -> None:
    model = TINY | {"vision_config": TINY["vision_config"] | {"model_type": kind, dropout: 0.1}}
    with pytest.raises(UsageError, match=rf"the vision tower has {dropout} 0\.1"):
        train.run(stage(root, "kept", keep=True, model=model))


def test_the_folder_of_features_is_no_run_to_anybody(root: Path) -> None:
    kept = train.run(stage(root, "kept", keep=True, max_steps=1))
    assert [run.path for run in inspect_runs(root / "runs").runs] == [str(root / "runs/kept")]
    assert newest_finished_run(Workspace(root)) == Path("runs/kept")
    assert kept.checkpoint is not None


def test_the_plan_says_what_features_take_and_save(root: Path) -> None:
    """12 images and 4 videos of 3 frames, of 16 patches halved to 8 tokens of 64 values in fp32."""
    plain = estimate_stage(stage(root, "kept", keep=False), 1)
    kept = estimate_stage(stage(root, "kept", keep=True), 1)
    assert plain.features is None
    assert kept.features is not None
    assert kept.features.bytes == (12 + 4 * 3) * 8 * 64 * 4
    assert plain.flops == pytest.approx(EPOCHS * (kept.features.tower_flops + kept.features.other_flops))
    assert kept.flops == pytest.approx(kept.features.tower_flops + EPOCHS * kept.features.other_flops)
    assert any(line.startswith("features: 0.00 GB in ") for line in kept.lines())
    limited = estimate_stage(stage(root, "kept", keep=True, cache_features_gb=1e-5), 1)
    assert "train.cache_features_gb" in "\n".join(limited.lines())
    done = train.run(stage(root, "kept", keep=True))
    assert done.features_kept_bytes == kept.features.bytes
    assert not (root / "runs/kept/features.json").exists()
