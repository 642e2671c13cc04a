"""Which models the network is made of: those that it computes as plain transformers does; others are named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, CLIPVisionConfig, CLIPVisionModel, LlavaConfig

from aurora_cli.checkpoints import foreign
from aurora_cli.checkpoints.layouts import open_parts
from aurora_cli.checkpoints.loading import build_model, load_model
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.config.settings import ModelSettings
from aurora_cli.errors import UsageError
from aurora_cli.models.supported import LANGUAGE_MODELS, check_language_model
from aurora_cli.models.towers.kinds import check_tower

VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2}
VISION |= {"image_size": 28, "patch_size": 14}
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT |= {"num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, "head_dim": 8}
TEXT |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


@pytest.fixture(scope="module")
def tower(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tower"
    CLIPVisionModel(CLIPVisionConfig(**VISION)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("model_type", LANGUAGE_MODELS)
def test_a_supported_language_model_computes_in_the_network_what_it_computes_alone(model_type, tower, tmp_path):
    torch.manual_seed(0)
    alone = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **TEXT)).eval()
    alone.save_pretrained(tmp_path / "language")
    opened = open_parts(str(tower), str(tmp_path / "language"), ModelSettings(image_size=28), None)
    inside = build_model(opened, fresh=frozenset({"projector"}))
    ids = torch.arange(3, 19)[None]
    with torch.no_grad():
        torch.testing.assert_close(inside(input_ids=ids).logits, alone(input_ids=ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"model_type": "llava_next", "vision_config": {}, "text_config": {"model_type": "llama"}},
            "llava_next.*text_co",
        ),
        ({"model_type": "gemma3", "vision_config": {"hidden_size": 8}}, "gemma3.*multimodal"),
        ({"model_type": "llava_llama", "mm_vision_tower": "openai/clip"}, "llava_llama.*multimodal"),
        ({"model_type": "t5"}, "t5.*no causal"),
        ({"model_type": "internlm2", "auto_map": {}}, "internlm2.*no causal"),
        ({"model_type": "mixtral"}, "mixtral.*stored otherwise"),
        ({"model_type": "gemma2", "final_logit_softcapping": 30.0}, "gemma2.*caps its logits"),
        ({"model_type": "granite", "logits_scaling": 8.0}, "granite.*logits"),
        ({"model_type": "llama", "quantization_config": {"quant_method": "awq"}}, "llama.*quantized"),
        ({"model_type": "gpt2"}, "gpt2.*no model.layers"),
        ({"model_type": "phi", "num_hidden_layers": 1}, "phi, .*head has a bias"),
        ({"model_type": "lfm2", "num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]}, "lfm2.*attention"),
        ({"model_type": "llama", "hidden_size": 7, "num_attention_heads": 4}, "llama.*cannot build it"),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)
def test_another_language_model_is_named_by_its_type_and_its_reason(config: dict[str, Any], said: str):
    with pytest.raises(UsageError, match=f"FOLDER is a {said}") as caught:
        check_language_model("FOLDER", config)
    assert "qwen2" in str(caught.value.hint)


def test_a_language_model_in_a_llava_is_as_llava_computes_it():
    check_language_model("FOLDER", {"model_type": "gemma2", "final_logit_softcapping": 30.0}, in_llava=True)


@pytest.mark.parametrize("model_type", ["dinov2_with_registers", "siglip2_vision_model", "llava", "vit"])
def test_another_tower_is_named_by_its_type(model_type: str):
    with pytest.raises(UsageError, match=f"FOLDER is a {model_type}") as caught:
        check_tower("FOLDER", {"model_type": model_type})
    assert "SigLIP" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("config", "said"),
    [({"use_swiglu_ffn": True}, "gated"), ({"image_size": [518, 224]}, r"image_size is \[518, 224\]")],
)
def test_a_tower_of_another_build_is_named_for_it(config: dict[str, Any], said: str):
    with pytest.raises(UsageError, match=f"FOLDER is a dinov2, which cannot be the vision tower: .*{said}"):
        check_tower("FOLDER", {"model_type": "dinov2", **config})


def test_the_parts_of_a_run_are_named_by_their_folders(tower, tmp_path):
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "config.json").write_text(json.dumps({"model_type": "llava_next", "text_config": TEXT}))
    for vision, language in ((tower, tmp_path / "next"), (tmp_path / "next", tower)):
        with pytest.raises(UsageError, match=f"{tmp_path}/next is a llava_next"):
            open_parts(str(vision), str(language), ModelSettings(), None)


LLAVA = {"model_type": "llava", "vision_config": VISION | {"model_type": "clip_vision_model"}, "text_config": TEXT}
OFFICIAL = {"model_type": "llava_llama", "mm_vision_tower": "openai/clip", "mm_projector_type": "mlp2x_gelu", **TEXT}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (LLAVA | {"model_type": "llava_next", "architectures": ["LlavaNext"]}, r"llava_next \(LlavaNext\)"),
        (LLAVA | {"model_type": "video_llava"}, "video_llava"),
        (LLAVA | {"model_type": "vipllava"}, "vipllava"),
        ({"model_type": "qwen2_vl", "vision_config": {}}, "qwen2_vl"),
        ({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}, r"qwen2 \(Qwen2ForCausalLM\)"),
        (LLAVA | {"quantization_config": {"load_in_4bit": True}}, "quantized"),
        (LLAVA | {"vision_feature_select_strategy": "full"}, "class token too"),
        (LLAVA | {"vision_config": {**VISION, "model_type": "siglip_vision_model"}}, "first patch off"),
        (LLAVA | {"vision_feature_layer": [-2, -5]}, r"layers \[-2, -5\]"),
        (LLAVA | {"vision_feature_layer": 9}, "layers 9"),
        (LLAVA | {"vision_config": {"model_type": "vit"}}, "its tower is a vit"),
        (LLAVA | {"text_config": {"model_type": "gpt2"}}, "its language model is a gpt2"),
        (OFFICIAL | {"mm_patch_merge_type": "spatial_unpad"}, "mm_patch_merge_type 'spatial_unpad'"),
        (OFFICIAL | {"image_aspect_ratio": "anyres_max_9"}, "image_aspect_ratio 'anyres_max_9'"),
        (OFFICIAL | {"mm_projector_type": "linear"}, "mm_projector_type 'linear'"),
        (OFFICIAL | {"mm_vision_select_feature": "cls_patch"}, "mm_vision_select_feature 'cls_patch'"),
        (OFFICIAL | {"model_type": "llava_mpt"}, "llava_mpt"),
        ({"model_type": "llava", "mm_video_tower": "a/b", "mm_image_tower": "a/c"}, "a llava"),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else value,
)
def test_a_folder_that_computes_otherwise_is_named_for_what_it_is(config: dict[str, Any], said: str, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=said) as caught:
        open_checkpoint(tmp_path)
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize(("model_type", "inside"), list(foreign.OFFICIAL_LANGUAGE_MODELS.items()))
def test_the_language_model_of_an_official_folder_is_what_its_type_says(model_type: str, inside: str, tmp_path):
    assert foreign.check_official(tmp_path, {"model_type": model_type, "mm_vision_tower": "x/y"}) == inside
    assert foreign.check_official(tmp_path, {"model_type": model_type, "text_model_type": "qwen3"}) == "qwen3"


@pytest.mark.parametrize("layer", [2, [2], -2])
def test_a_feature_layer_counted_from_the_front_is_the_same_one(layer, tmp_path):
    """A tower of 3 layers has hidden states 0 to 3: 2 is -2."""
    torch.manual_seed(0)
    config = LlavaConfig.from_dict(LLAVA | {"vision_feature_layer": 2, "image_token_index": 63})
    plain = transformers.LlavaForConditionalGeneration(config).eval()
    plain.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(written | {"vision_feature_layer": layer}))
    pixels = torch.randn(1, 3, 28, 28)
    ids = torch.tensor([[1, 5, 63, 63, 63, 63, 7, 9]])
    model = load_model(tmp_path)
    with torch.no_grad():
        expected = plain(input_ids=ids, pixel_values=pixels).logits[0, -2:]
        found = model(input_ids=torch.tensor([[1, 5, -200, 7, 9]]), pixel_values=pixels).logits[0, -2:]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
