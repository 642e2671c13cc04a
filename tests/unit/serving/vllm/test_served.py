"""What an export says to vLLM, and what a request may change."""

import json
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import transformers
from transformers import CLIPVisionConfig, LlamaConfig, SiglipVisionConfig

from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import SettingsError, UsageError
from aurora_cli.models.config import AuroraCapConfig
from aurora_cli.serving.vllm.config import LlavaConfig
from aurora_cli.serving.vllm.served import ARCHITECTURE, MediumPlan, ServedModel, served_model

SIZES = {"image_size": 56, "patch_size": 14, "hidden_size": 32, "num_hidden_layers": 5, "num_attention_heads": 2}


def export(folder: Path, merging: TokenMerging, kind: type = CLIPVisionConfig, **config: object) -> ServedModel:
    """16 patches a frame, 4 layers that run."""
    values = AuroraCapConfig(vision_config=kind(**SIZES), text_config=LlamaConfig(), merging=merging.model_dump())
    (folder / "config.json").write_text(json.dumps(values.to_dict() | config))
    return served_model(str(folder), LlavaConfig.from_pretrained(folder))


def test_an_image_and_a_video_have_the_tokens_of_captioning(tmp_path: Path) -> None:
    served = export(tmp_path, TokenMerging(kept_ratio=0.5, slowfast=True))
    request = served.requested({"frames": 3})
    assert served.tokens("image", request) == [8]
    assert served.tokens("video", request) == [16, 8, 8]
    plan = served.plan("video", request)
    assert (plan.first_is_whole, plan.removals) == (True, (2, 2, 2, 2))
    assert served.plan("image", request) == MediumPlan(False, (2, 2, 2, 2))
    assert [plan.removals_of(frame) for frame in (0, 1)] == [(0, 0, 0, 0), (2, 2, 2, 2)]
    assert MediumPlan.of_numbers(plan.numbers) == plan


def test_a_request_goes_before_the_export(tmp_path: Path) -> None:
    served = export(tmp_path, TokenMerging(kept_ratio=0.5, schedule="constant", proportional_attention=False))
    request = served.requested({"token_kept_ratio": 0.25, "slowfast": True, "frames": 2})
    assert request == (served.merging.model_copy(update={"kept_ratio": 0.25, "slowfast": True}), 2)
    assert served.requested({}) == (served.merging, 8)
    assert served.requested({"token_kept_ratio": None}).merging == served.merging


def test_a_ratio_that_cannot_be_reached_is_refused_with_the_least_that_can(tmp_path: Path) -> None:
    served = export(tmp_path, TokenMerging(), SiglipVisionConfig)
    request = served.requested({"token_kept_ratio": 0.02})
    with pytest.raises(SettingsError, match=r"kept ratio 0\.02, .* at least 1 of them"):
        served.plan("image", request)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_kept_ration": 0.3}, "'token_kept_ration' is none of token_kept_ratio, slowfast, frames"),
        ({"token_kept_ratio": 1.5}, "token_kept_ratio is 1.5: "),
        ({"token_kept_ratio": "much"}, "token_kept_ratio is 'much': "),
        ({"frames": 0}, "frames is 0: "),
    ],
)
def test_what_is_no_change_is_refused_by_its_name(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        export(tmp_path, TokenMerging()).requested(changes)


def test_frames_and_colours_are_those_of_training(tmp_path: Path) -> None:
    facts = {"schema": 1, "prompting": {"template": "vicuna", "frames": 3}}
    (tmp_path / "aurora.json").write_text(json.dumps(facts))
    pixels = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3], "size": {"height": 56, "width": 56}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(pixels))
    served = export(tmp_path, TokenMerging(), image_size=112)
    assert (served.frames, served.side) == (3, 112)
    assert served.model.image_mean == (0.5, 0.4, 0.3)
    assert served.model.image_std == (0.1, 0.2, 0.3)
    assert served.tokens("image", served.requested({})) == [64]


def test_a_llava_of_others_is_read_as_without_the_plugin(tmp_path: Path) -> None:
    export(tmp_path, TokenMerging())
    assert LlavaConfig.from_pretrained(tmp_path).architectures == [ARCHITECTURE]
    transformers.LlavaConfig(vision_config=CLIPVisionConfig(**SIZES)).save_pretrained(tmp_path)
    theirs = LlavaConfig.from_pretrained(tmp_path)
    assert type(theirs) is transformers.LlavaConfig
    assert theirs.architectures is None


def test_the_entry_point_names_a_function_that_is_there() -> None:
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())
    module, name = project["project"]["entry-points"]["vllm.general_plugins"]["aurora"].split(":")
    assert callable(getattr(import_module(module), name))


def test_beyond_the_ratios_of_training_the_log_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    served = export(tmp_path, TokenMerging(kept_ratio=0.5))._replace(trained_ratios=(0.25, 0.5))
    for ratio in (0.25, 0.3, 0.5, 0.75, 0.75):
        served.requested({"token_kept_ratio": ratio})
    assert [record.message for record in caplog.records] == [
        "kept ratio 0.75 lies outside of those that the model was trained at (0.25, 0.5): captions may be worse"
    ]
