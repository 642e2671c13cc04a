"""DeepSpeed's configuration: the presets, a user's file, and what the settings fill in."""

import json
from pathlib import Path
from typing import Any

import pytest

from aurora_cli.config.settings import TrainSettings
from aurora_cli.errors import UsageError
from aurora_cli.training.engine.deepspeed_config import (
    ENGINES,
    engine_name,
    fill_config,
    holds_shares_in_main_memory,
    offloads_optimizer,
    offloads_weights,
    read_config,
    resolved_precision,
    shares_while_loading,
)

SIZES: dict[str, Any] = {"micro": 2, "accumulation": 3, "world": 4, "max_grad_norm": 0.5, "precision": "bf16"}


def test_one_process_needs_no_engine_and_more_take_zero2_unless_told() -> None:
    assert engine_name(TrainSettings(), 1) == "none"
    assert engine_name(TrainSettings(), 2) == "zero2"
    assert engine_name(TrainSettings(deepspeed="zero3"), 1) == "zero3"
    assert engine_name(TrainSettings(deepspeed="none"), 8) == "none"


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "none"])
def test_every_preset_is_of_the_stage_it_is_named_after(name: str, tmp_path: Path) -> None:
    config = read_config(name, tmp_path)
    assert config is not None
    zero = config["zero_optimization"]
    assert f"zero{zero['stage']}" == name.removesuffix("_offload")
    assert ("offload_optimizer" in zero) == offloads_optimizer(config) == name.endswith("_offload")
    assert config.get("data_types") == (None if name == "zero1" else {"grad_accum_dtype": "fp32"})
    filled = fill_config(config, **SIZES)
    assert filled["train_batch_size"] == 24
    assert filled["train_micro_batch_size_per_gpu"] == 2
    assert filled["gradient_clipping"] == 0.5
    assert filled["bf16"] == {"enabled": True}
    assert filled["fp16"] == {"enabled": False}
    assert "auto" not in json.dumps(filled)
    assert read_config(name, tmp_path) == config, "filling in does not change what was read"


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "none"])
def test_several_processes_share_weights_from_the_beginning_under_zero3_alone(name: str, tmp_path: Path) -> None:
    config = read_config(name, tmp_path)
    assert config is not None
    assert shares_while_loading(config, 2) == name.startswith("zero3")
    assert not shares_while_loading(config, 1)
    assert holds_shares_in_main_memory(config, cuda=True) == (name == "zero3_offload")
    assert offloads_weights(config) == (name == "zero3_offload")
    assert holds_shares_in_main_memory(config, cuda=False)


@pytest.mark.parametrize(
    "option", [{"zero_hpz_partition_size": 2}, {"zero_quantized_weights": True}, {"offload_param": {"device": "nvme"}}]
)
def test_options_that_cut_weights_in_other_ways_are_given_whole_ones(option: dict[str, Any]) -> None:
    assert not shares_while_loading({"zero_optimization": {"stage": 3, **option}}, 2)
    assert shares_while_loading({"zero_optimization": {"stage": 3, "zero_hpz_partition_size": 1}}, 2)


def test_none_is_no_config(tmp_path: Path) -> None:
    assert read_config("none", tmp_path) is None


def test_a_users_file_is_relative_to_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"zero_optimization": {"stage": 1}}')
    assert read_config("mine.json", tmp_path) == {"zero_optimization": {"stage": 1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"zero_optimization": {"stage": 2}, "optimizer": {}}', "'optimizer'"),
        ('{"zero_optimization": {"stage": 2}, "scheduler": {}}', "'scheduler'"),
        ("{}", "stage is None"),
        ('{"zero_optimization": {"stage": 0}}', "stage is 0"),
        ("[]", "JSON object"),
        ("{", "not readable"),
    ],
)
def test_files_that_aurora_cannot_run_are_usage_errors(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_config("mine.json", tmp_path)


def test_an_unknown_engine_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_config("zero4", tmp_path)
    assert "zero2_offload" in str(caught.value)


@pytest.mark.parametrize(
    "contradiction",
    [
        {"train_micro_batch_size_per_gpu": 16},
        {"gradient_clipping": 1.0},
        {"train_batch_size": 8},
        {"fp16": {"enabled": True}},
        {"bf16": {"enabled": False}},
    ],
)
def test_a_file_that_contradicts_the_settings_is_a_usage_error(contradiction: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(contradiction))):
        fill_config({"zero_optimization": {"stage": 2}, **contradiction}, **SIZES)


def shipped(stage: int) -> dict[str, Any]:
    """The keys of LLaVA's, XTuner's and transformers' files together, `auto` where one of them says so."""
    return {
        "fp16": {"enabled": "auto", "loss_scale": 0, "initial_scale_power": 16},
        "bf16": {"enabled": "auto"},
        "amp": {"enabled": "auto", "opt_level": "auto"},
        "optimizer": {
            "type": "AdamW",
            "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"},
        },
        "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": "auto", "warmup_num_steps": "auto"}},
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_optimization": {
            "stage": stage,
            "offload_optimizer": {"device": "cpu", "pin_memory": True},
            "overlap_comm": True,
            "sub_group_size": 1e9,
            "reduce_bucket_size": "auto",
            "allgather_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            "stage3_max_live_parameters": 1e9,
        },
    }


@pytest.mark.parametrize("stage", [2, 3])
def test_sizes_that_are_auto_follow_the_width_of_the_language_model(stage: int, tmp_path: Path) -> None:
    """transformers' rule: buckets of width x width numbers, 0.9 of that ahead, 10 x width that stay."""
    (tmp_path / "llava.json").write_text(json.dumps(shipped(stage)))
    config = read_config("llava.json", tmp_path)
    assert config is not None
    filled = fill_config(config, **SIZES, hidden_size=4096)
    assert "auto" not in json.dumps(filled)
    assert not {"optimizer", "scheduler"} & filled.keys(), "train.* stands for them"
    zero = filled["zero_optimization"]
    assert zero["reduce_bucket_size"] == 16_777_216
    assert zero["sub_group_size"] == 1e9
    assert "allgather_bucket_size" not in zero, "DeepSpeed's own"
    ahead = {
        key: zero[key] for key in ("stage3_prefetch_bucket_size", "stage3_param_persistence_threshold") if key in zero
    }
    assert ahead == (
        {"stage3_prefetch_bucket_size": 15_099_494, "stage3_param_persistence_threshold": 40_960} if stage == 3 else {}
    )


def test_a_size_that_a_file_says_stays(tmp_path: Path) -> None:
    filled = fill_config({"zero_optimization": {"stage": 3, "reduce_bucket_size": 5}}, **SIZES, hidden_size=4096)
    assert filled["zero_optimization"] == {"stage": 3, "reduce_bucket_size": 5}


@pytest.mark.parametrize(
    "section",
    [
        {"optimizer": {"type": "AdamW", "params": {"lr": 1e-4, "betas": "auto"}}},
        {"optimizer": {"type": "Lion", "params": {"lr": "auto"}}},
        {"scheduler": {"type": "OneCycle", "params": {"cycle_min_lr": "auto"}}},
    ],
)
def test_an_optimizer_or_a_schedule_of_the_files_own_is_a_usage_error(section: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps({"zero_optimization": {"stage": 2}, **section}))
    with pytest.raises(UsageError, match=f"its own '{next(iter(section))}'"):
        read_config("mine.json", tmp_path)


def test_precision_follows_the_device_unless_told() -> None:
    assert resolved_precision("auto", cuda=True) == "bf16"
    assert resolved_precision("auto", cuda=False) == "fp32"
    assert resolved_precision("fp16", cuda=False) == "fp16"
