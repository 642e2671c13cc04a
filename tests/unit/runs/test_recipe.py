"""Which settings a run may go on with other values of."""

import json
from pathlib import Path
from typing import Any

import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.errors import UsageError
from aurora_cli.runs.metadata import TrainState
from aurora_cli.runs.recipe import RECIPE_SECTIONS, check_recipe, may_change, recipe_of

MARKED = {
    "data.max_bad_share",
    "data.validation",
    "data.workers",
    "model.tokenizer",
    "train.after",
    "train.cache_features",
    "train.cache_features_gb",
    "train.callbacks",
    "train.data",
    "train.deepspeed",
    "train.epochs",
    "train.evaluate_every",
    "train.evaluate_samples",
    "train.fit",
    "train.flops_per_s",
    "train.gradient_checkpointing",
    "train.init_from",
    "train.live",
    "train.max_loss_jump",
    "train.max_steps",
    "train.media_root",
    "train.micro_batch_packs",
    "train.new_template",
    "train.num_processes",
    "train.plan",
    "train.precision",
    "train.projector_start",
    "train.resume",
    "train.run_dir",
    "train.samples",
    "train.samples_every",
    "train.scratch",
    "train.tight_memory",
    "train.trackers",
    "train.watchdog_s",
    "train.write",
}
DEPENDED_ON = {
    "data.batching": "padded",
    "data.validation_share": 0.1,
    "merging.kept_ratio": 0.5,
    "model.image_size": 28,
    "train.global_batch_packs": 8,
    "train.pack_tokens": 512,
    "train.projector.lr": 1.0,
    "train.seed": 3,
    "train.warmup_ratio": 0.5,
}


def saved(folder: Path, recipe: dict[str, Any]) -> Path:
    """A checkpoint of a run that began with these settings."""
    (folder / "resume").mkdir(parents=True)
    (folder / "resume/state.json").write_text(json.dumps({"step": 2, "recipe": recipe}))
    return folder


def changed(path: str, value: Any) -> Settings:
    tree: Any = value
    for key in reversed(path.split(".")):
        tree = {key: tree}
    return Settings.model_validate(tree)


def test_exactly_these_settings_are_marked() -> None:
    assert may_change() == MARKED
    assert {path.partition(".")[0] for path in MARKED} <= RECIPE_SECTIONS
    assert not MARKED & recipe_of(Settings()).keys()


@pytest.mark.parametrize(("path", "value"), DEPENDED_ON.items())
def test_a_setting_that_numbers_depend_on_must_stay(path: str, value: object, tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "a", recipe_of(Settings()))
    with pytest.raises(UsageError, match=f"{path} was .*, is now {value}"):
        check_recipe(checkpoint, recipe_of(changed(path, value)), "vision")


def test_the_folders_that_came_or_went_are_named(tmp_path: Path) -> None:
    began = [[f"tokenized/projection/{name}/merged", 1.0, 1500] for name in ("densefusion", "sharegpt4v", "small")]
    now = [[*began[0]], ["tokenized/projection/extra/merged", 1.0, 80], [began[2][0], 2.0, 1400]]
    checkpoint = saved(tmp_path / "a", {**recipe_of(Settings()), "data folders": began})
    with pytest.raises(UsageError) as caught:
        check_recipe(checkpoint, {**recipe_of(Settings()), "data folders": now}, "projection")
    assert caught.value.message.endswith(
        "data folders: tokenized/projection/sharegpt4v/merged (1,500 samples) is gone; "
        "tokenized/projection/extra/merged (80 samples) is new; "
        "tokenized/projection/small/merged has weight 2, had 1; "
        "tokenized/projection/small/merged has 1,400 samples, had 1,500"
    )
    with pytest.raises(UsageError, match="data folders: they are in another order"):
        check_recipe(checkpoint, {**recipe_of(Settings()), "data folders": began[::-1]}, "projection")


def test_long_values_are_cut_where_they_differ(tmp_path: Path) -> None:
    names = [f"/models/{'deep/' * 20}{name}" for name in ("first", "second")]
    checkpoint = saved(tmp_path / "a", recipe_of(changed("model.vision_tower", names[0])))
    with pytest.raises(UsageError, match=r"was \.\.\.deep/deep/first, is now \.\.\.deep/deep/second"):
        check_recipe(checkpoint, recipe_of(changed("model.vision_tower", names[1])), "vision")


def test_every_other_one_may_change(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "a", recipe_of(Settings()))
    others: dict[str, Any] = {
        "train.max_steps": 3, "train.epochs": 2.0, "train.precision": "fp16", "train.trackers": ["wandb"],
        "train.data": ["x:2"], "data.workers": 0, "model.tokenizer": "elsewhere",
        "train.callbacks": {"other": {"below": 2.0}},
    }  # fmt: skip
    for path, value in others.items():
        check_recipe(checkpoint, recipe_of(changed(path, value)), "vision")


def test_a_run_goes_on_that_was_begun_before_a_setting_was_there_or_might_change(tmp_path: Path) -> None:
    began = recipe_of(Settings())
    del began["data.fps"]
    began["train.watchdog_s"] = 5.0
    check_recipe(saved(tmp_path / "a", began), recipe_of(Settings()), "vision")
    with pytest.raises(UsageError, match=r"data\.fps was 1\.0, is now 2\.0"):
        check_recipe(saved(tmp_path / "b", began), recipe_of(changed("data.fps", 2.0)), "vision")


def test_what_a_run_keeps_is_what_the_next_one_compares(tmp_path: Path) -> None:
    recipe = recipe_of(changed("train.lora.language_model", {"rank": 4, "targets": ["q_proj"]}))
    TrainState(recipe=recipe).write(tmp_path / "state.json")
    assert TrainState.read(tmp_path / "state.json").recipe == recipe
