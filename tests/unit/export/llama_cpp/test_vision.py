"""The mmproj file through llama.cpp's graph, written out here in torch as `tools/mtmd/models/llava.cpp` has it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, SiglipVisionConfig

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.lazy_tensors import Tensors, in_memory
from aurora_cli.config.settings import ModelSettings
from aurora_cli.errors import UsageError
from aurora_cli.export.llama_cpp import vision
from aurora_cli.export.positions import POSITIONS
from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig
from aurora_cli.models.merge_plan import WHOLE
from aurora_cli.models.towers.frame_embeddings import resized_positions

Values = dict[str, torch.Tensor]
ACTIVATIONS = {
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu": F.gelu,
}


def llava_graph(keys: dict[str, Any], values: Values, pixels_B3HW: torch.Tensor, activation: str) -> torch.Tensor:
    """(B, N, X) as llama.cpp computes it: the class token behind the patches, and the first row dropped for it."""
    wide, heads = keys["clip.vision.embedding_length"], keys["clip.vision.attention.head_count"]
    epsilon, patch = keys["clip.vision.attention.layer_norm_epsilon"], keys["clip.vision.patch_size"]
    has_class = "v.class_embd" in values

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (wide,), values[f"{name}.weight"], values.get(f"{name}.bias"), epsilon)

    def product(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, values[f"{name}.weight"], values.get(f"{name}.bias"))

    x = F.conv2d(pixels_B3HW, values["v.patch_embd.weight"], values.get("v.patch_embd.bias"), stride=patch)
    x = x.flatten(2).transpose(1, 2)
    if has_class:
        x = torch.cat([x, values["v.class_embd"].expand(len(x), 1, -1)], dim=1)
    x = x + values["v.position_embd.weight"]
    if "v.pre_ln.weight" in values:
        x = norm(x, "v.pre_ln")
    is_llavas = keys["clip.projector_type"] == "mlp"
    assert keys.get("clip.vision.feature_layer") == ([keys["clip.vision.block_count"]] if is_llavas else None)
    for layer in range(keys["clip.vision.block_count"]):
        at = f"v.blk.{layer}"
        normed = norm(x, f"{at}.ln1")
        query, key, value = (
            product(normed, f"{at}.attn_{one}").unflatten(-1, (heads, -1)).transpose(1, 2) for one in "qkv"
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        x = x + product(attended.transpose(1, 2).flatten(2), f"{at}.attn_out")
        hidden = product(norm(x, f"{at}.ln2"), f"{at}.ffn_up")
        x = x + product(ACTIVATIONS[activation](hidden), f"{at}.ffn_down")
    rows = x[:, 1:] if has_class else x
    return product(F.gelu(product(rows, "mm.0")), "mm.2" if is_llavas else "mm.1")


def captioner(tower: Any, image_size: int) -> tuple[AuroraCap, Tensors, ModelSettings]:
    """One with random weights, of which nothing is small, and its weights by canonical name."""
    torch.manual_seed(0)
    language = LlamaConfig(
        vocab_size=64, hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    llava = LlavaConfig(vision_config=tower, text_config=language, image_token_index=64, vision_feature_layer=-2)
    model = AuroraCap(AuroraCapConfig(**llava.to_dict(), image_size=image_size)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (0.2 if parameter.ndim == 1 else 0.05))
    tensors = in_memory(
        {names.canonical(name) or name: values.detach() for name, values in model.state_dict().items()}, Path("x")
    )
    native = tower.image_size // tower.patch_size
    if image_size != tower.image_size:  # `at_trained_size` does it for all layouts that need it
        rows = image_size // tower.patch_size
        table = resized_positions(
            tensors[POSITIONS].read(), native, rows, rows, int(tower.model_type == "clip_vision_model")
        )
        tensors |= in_memory({POSITIONS: table}, Path("x"))
    mean = (0.5,) * 3 if tower.model_type == "siglip_vision_model" else ModelSettings().image_mean
    return model, tensors, ModelSettings(image_size=image_size, image_mean=mean)


def clip(activation: str = "quick_gelu", **sizes: int) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        **{
            "image_size": 56, "patch_size": 14, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
            "num_attention_heads": 2, **sizes,
        },
        hidden_act=activation,
    )  # fmt: skip


def siglip() -> SiglipVisionConfig:
    return SiglipVisionConfig(
        image_size=56, patch_size=14, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=2
    )


@pytest.mark.parametrize(
    ("tower", "image_size"),
    [
        (clip(), 56),
        (clip("gelu"), 56),
        (clip(intermediate_size=64, hidden_size=24), 56),
        (clip(), 84),
        (siglip(), 56),
        (siglip(), 70),
    ],
    ids=["clip", "clip with gelu", "clip, other widths", "clip on larger images", "siglip", "siglip on larger images"],
)
def test_llama_cpps_graph_gives_the_embeddings_of_images_that_the_network_gives(tower: Any, image_size: int) -> None:
    model, tensors, settings = captioner(tower, image_size)
    config: Any = model.config
    written = vision.tensors_of(tensors, config, settings)
    values = {each.name: each.tensor.read().float() for each in written}
    assert all(tuple(values[each.name].shape) == each.tensor.shape for each in written)
    pixels = torch.randn(2, 3, image_size, image_size)
    with torch.no_grad():
        expected = model.model.multi_modal_projector(model.encode_images(pixels, WHOLE))
        found = llava_graph(vision.metadata_of(config, settings), values, pixels, tower.hidden_act)
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_a_class_token_left_where_llama_cpp_puts_it_would_give_others() -> None:
    """The reference sees the fault that the layer in front mends: row 0 is the first patch, and the last no patch."""
    model, tensors, settings = captioner(clip(), 56)
    config: Any = model.config
    plain = dict(vision.named_weights(tensors, config, settings))
    values = {name: tensor.read().float() for name, tensor in plain.items()}
    values["v.position_embd.weight"] = values["v.position_embd.weight"].roll(-1, 0)  # each its own, at least
    keys = vision.metadata_of(config, settings) | {
        "clip.vision.embedding_length": 32, "clip.vision.block_count": 3, "clip.vision.feature_layer": [3],
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
    }  # fmt: skip
    pixels = torch.randn(1, 3, 56, 56)
    with torch.no_grad():
        expected = model.model.multi_modal_projector(model.encode_images(pixels, WHOLE))
        found = llava_graph(keys, values, pixels, "quick_gelu")
    assert torch.allclose(found[:, :-1], expected[:, 1:], atol=1e-3)
    assert not torch.allclose(found, expected, atol=0.1)


def test_the_projector_type_pads_as_training_did_or_it_is_said() -> None:
    for tower, mean, projector, padding in (
        (siglip(), (0.5, 0.5, 0.5), "janus_pro", None),
        (siglip(), (0.48145466, 0.4578275, 0.40821073), "mlp", None),
        (siglip(), (0.485, 0.456, 0.406), "mlp", "training padded with (123, 116, 103)"),
        (clip(), (0.5, 0.5, 0.5), "mlp", "training padded with (127, 127, 127)"),
    ):
        config: Any = AuroraCapConfig(vision_config=tower, text_config=LlamaConfig())
        settings = ModelSettings(image_size=56, image_mean=mean)
        assert vision.projector_type(config, settings) == projector
        notes = [note for note in vision.notes_of(config, settings) if "pads images" in note]
        assert [padding in note for note in notes if padding] == ([True] if padding else [])
        assert bool(notes) == bool(padding)


def test_an_mlp_as_wide_as_the_tower_is_written_wider_so_that_it_is_not_taken_for_an_exchanged_one() -> None:
    tower = SiglipVisionConfig(
        image_size=56, patch_size=14, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model, tensors, settings = captioner(tower, 56)
    config: Any = model.config
    written = {each.name: each.tensor for each in vision.tensors_of(tensors, config, settings)}
    assert written["v.blk.0.ffn_down.weight"].shape == (32, 64)
    assert written["v.blk.0.ffn_up.bias"].shape == (64,)
    assert not written["v.blk.0.ffn_up.bias"].read()[32:].any()


def test_what_llama_cpp_has_no_llava_for_is_refused_with_the_list() -> None:
    config: Any = AuroraCapConfig(vision_config=clip("relu"), text_config=LlamaConfig())
    with pytest.raises(UsageError, match="relu is none of"):
        vision.check_vision(config)
    config.vision_config.model_type = "dinov2"
    with pytest.raises(UsageError, match="dinov2 tower cannot be written as GGUF") as refused:
        vision.check_vision(config)
    assert refused.value.hint is not None
    assert "SigLIP and CLIP" in refused.value.hint
