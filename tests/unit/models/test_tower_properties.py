"""What holds for a tower of any shape, at any size and kept ratio."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import SettingsError
from aurora_cli.models.merge_plan import num_visual_tokens, removal_plan
from aurora_cli.models.towers.kinds import has_class_token
from aurora_cli.models.vision_encoder import encode, install_merging

KINDS = {CLIPVisionModel: CLIPVisionConfig, SiglipVisionModel: SiglipVisionConfig, Dinov2Model: Dinov2Config}

towers = st.tuples(st.sampled_from(list(KINDS)), st.integers(2, 6), st.sampled_from([28, 42, 56]), st.integers(0, 999))
sizes = st.tuples(st.integers(14, 100), st.integers(14, 100))
mergings = st.builds(
    TokenMerging,
    kept_ratio=st.floats(0.03, 1.0),
    schedule=st.sampled_from(["exact", "constant"]),
    proportional_attention=st.booleans(),
)


def build(kind, layers: int, side: int, seed: int):
    torch.manual_seed(seed)
    config = KINDS[kind](
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=2,
        image_size=side,
        patch_size=14,
    )
    plain, merging = kind(config).eval(), kind(config).eval()
    merging.load_state_dict(plain.state_dict())
    install_merging(merging)
    return plain, merging


@pytest.mark.slow
@given(towers, sizes, mergings)
@settings(max_examples=60)
@torch.no_grad()
def test_after_every_layer_the_sizes_count_each_patch_once_and_tokens_follow_the_plan(drawn, size, merging):
    kind, layers, side, seed = drawn
    _, tower = build(kind, layers, side, seed)
    class_token = has_class_token(tower.config.model_type)
    try:
        plan = removal_plan(*size, 14, layers, layers - 1, merging, class_token)
    except SettingsError:
        assume(False)
    patches = (size[0] // 14) * (size[1] // 14)
    pixels = torch.randn(2, 3, *size)
    for layer in range(layers):
        encoded = encode(tower, pixels, plan[:layer], merging.proportional_attention)
        assert encoded.hidden.shape[1] == patches + class_token - sum(plan[:layer])
        if encoded.size is None:
            assert sum(plan[:layer]) == 0
            continue
        assert encoded.size.sum(dim=1).tolist() == [patches + class_token] * 2
        assert encoded.size.min() >= 1
        assert not class_token or encoded.size[:, 0].tolist() == [1, 1]
    counted = num_visual_tokens(*size, 14, layers, -2, class_token, merging)
    assert encoded.hidden.shape[1] - class_token == counted


@pytest.mark.slow
@given(towers)
@settings(max_examples=20)
@torch.no_grad()
def test_nothing_merged_is_transformers_own_tower_to_the_bit(drawn):
    kind, layers, side, seed = drawn
    plain, tower = build(kind, layers, side, seed)
    pixels = torch.randn(2, 3, side, side)
    plan = removal_plan(
        side, side, 14, layers, layers - 1, TokenMerging(kept_ratio=1.0), has_class_token(tower.config.model_type)
    )
    expected = plain(pixels, output_hidden_states=True).hidden_states[-2]
    assert torch.equal(encode(tower, pixels, plan, proportional_attention=True).hidden, expected)


@pytest.mark.slow
@given(towers, sizes, mergings, st.permutations(range(4)))
@settings(max_examples=40)
@torch.no_grad()
def test_the_order_of_images_in_a_batch_changes_nothing_but_the_order(drawn, size, merging, order):
    kind, layers, side, seed = drawn
    _, tower = build(kind, layers, side, seed)
    try:
        plan = removal_plan(*size, 14, layers, layers - 1, merging, has_class_token(tower.config.model_type))
    except SettingsError:
        assume(False)
    pixels = torch.randn(4, 3, *size)
    features = encode(tower, pixels, plan, merging.proportional_attention).hidden
    permuted = encode(tower, pixels[order], plan, merging.proportional_attention).hidden
    torch.testing.assert_close(permuted, features[order], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@given(towers, mergings)
@settings(max_examples=15)
def test_recomputed_activations_give_the_same_gradients(drawn, merging):
    kind, layers, side, seed = drawn
    _, tower = build(kind, layers, side, seed)
    try:
        plan = removal_plan(70, 42, 14, layers, layers - 1, merging, has_class_token(tower.config.model_type))
    except SettingsError:
        assume(False)
    tower.train()
    pixels = torch.randn(2, 3, 70, 42)
    gradients = []
    for recompute in (False, True):
        tower.zero_grad()
        tower.encoder.gradient_checkpointing = recompute
        encode(tower, pixels, plan, merging.proportional_attention).hidden.square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in tower.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][name]), name


@pytest.mark.slow
def test_nothing_in_the_tower_asks_for_a_value_on_the_host():
    """Fake tensors have no values: `.item()`, and whatever has a size that data decides, raises."""
    for kind in KINDS:
        _, tower = build(kind, 4, 56, 0)
        for recompute in (False, True):
            tower.train().encoder.gradient_checkpointing = recompute
            with FakeTensorMode(allow_non_fake_inputs=True):
                pixels = torch.randn(2, 3, 70, 56, requires_grad=True)
                hidden = encode(tower, pixels, (4, 0, 3), proportional_attention=True).hidden
                torch.autograd.grad(hidden.square().sum(), pixels)
                with pytest.raises(DataDependentOutputException):
                    hidden.sum().item()


def test_the_same_call_gives_the_same_bits():
    _, tower = build(CLIPVisionModel, 4, 56, 0)
    pixels = torch.randn(3, 3, 70, 56)
    results = []
    for _ in range(2):
        tower.zero_grad()
        hidden = encode(tower, pixels, (5, 3, 2), proportional_attention=True).hidden
        hidden.square().mean().backward()
        results.append([hidden.detach(), *(p.grad for p in tower.parameters() if p.grad is not None)])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
