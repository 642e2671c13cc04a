import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Model, PreTrainedModel, SiglipVisionModel, ViTConfig

from aurora_cli.errors import UsageError
from aurora_cli.models import vision_encoder
from aurora_cli.models.merge_plan import removal_plan
from aurora_cli.models.token_merging import slots_of
from aurora_cli.models.towers.frame_embeddings import bicubic_weights
from aurora_cli.models.towers.kinds import KINDS, has_class_token
from aurora_cli.models.vision_encoder import encode, install_merging, unused_parameters

GOLDEN_RUNS = [("native", f"84x84_r{ratio}") for ratio in (0.05, 0.1, 0.2, 0.5, 0.8, 1.0)] + [
    ("resized", "112x112_r0.2"),
    ("resized", "126x84_r0.5"),
]


@pytest.mark.parametrize(("folder", "run"), GOLDEN_RUNS)
def test_the_tower_gives_the_numbers_of_the_original(golden, original, folder, run):
    manifest, folder = golden.case("encoder", folder)
    case = next(case for case in manifest["runs"] if case["file"] == f"{run}.safetensors")
    recorded = load_file(folder / case["file"])
    tower = CLIPVisionModel(CLIPVisionConfig.from_pretrained(folder))
    weights = load_file(folder / "model.safetensors")
    tower.load_state_dict({name.removeprefix("vision_model."): tensor for name, tensor in weights.items()})
    install_merging(tower)

    plan = removal_plan(case["height"], case["width"], 14, 6, 5, original(case["ratio"]))
    pixels = load_file(folder / case["pixels_file"])["pixel_values"]
    encoded = encode(tower.eval(), pixels, plan)

    features = encoded.hidden[:, 1:]
    torch.testing.assert_close(features, recorded["features"], atol=1e-4, rtol=0)
    for layer, matching in enumerate(encoded.matchings):
        if matching is not None:
            slots = slots_of(matching, case["tokens_in_with_cls"][layer])
            assert torch.equal(slots, recorded[f"layer{layer}.assign"].long())
    if encoded.size is not None:
        assert torch.equal(encoded.size, recorded["layer4.size"])
    if "grad_norms" not in case:
        return
    (features * torch.cos(torch.arange(features.numel()).float()).view_as(features)).mean().backward()
    gradients = {f"vision_model.{name}": parameter.grad for name, parameter in tower.named_parameters()}
    for name, norm in case["grad_norms"].items():
        assert gradients[name].norm().item() == pytest.approx(norm, abs=1e-4), name
    for name, tensor in recorded.items():
        if name.startswith("grad."):
            torch.testing.assert_close(gradients[name.removeprefix("grad.")], tensor, atol=1e-4, rtol=0)


def towers(configs, **changes) -> list[tuple[PreTrainedModel, PreTrainedModel]]:
    """Each kind of tower as transformers has it, and with merging."""
    pairs = []
    kinds = {CLIPVisionModel: configs.clip, SiglipVisionModel: configs.siglip, Dinov2Model: configs.dinov2}
    for kind, config in ((kind, config(**changes)) for kind, config in kinds.items()):
        plain, merging = kind(config).eval(), kind(config).eval()
        merging.load_state_dict(plain.state_dict())
        install_merging(merging)
        pairs.append((plain, merging))
    return pairs


def test_without_merging_the_tower_is_transformers_own_bit_for_bit(configs):
    pixels = torch.randn(2, 3, 56, 56)
    for plain, tower in towers(configs):
        expected = plain(pixels, output_hidden_states=True).hidden_states
        for layers in range(5):
            assert torch.equal(encode(tower, pixels, (0,) * layers).hidden, expected[layers])


def test_names_of_weights_stay_those_of_transformers(configs):
    for plain, tower in towers(configs):
        assert tower.state_dict().keys() == plain.state_dict().keys()


def test_layers_behind_the_features_never_run(configs):
    for _, tower in towers(configs):
        ran: list[int] = []
        for index, layer in enumerate(tower.encoder.stack):
            layer.mlp.register_forward_hook(lambda *_, ran=ran, index=index: ran.append(index))
        encode(tower, torch.randn(1, 3, 56, 56), (2, 2, 2))
        assert ran == [0, 1, 2]


def test_tokens_follow_the_plan_and_sizes_count_every_patch(configs):
    for (_, tower), tokens in zip(towers(configs), (17, 16, 17), strict=True):
        encoded = encode(tower, torch.randn(2, 3, 56, 56), (3, 0, 4))
        assert encoded.hidden.shape == (2, tokens - 7, 32)
        assert encoded.size is not None
        assert encoded.size.sum(dim=1).tolist() == [tokens, tokens]
        assert [matching is None for matching in encoded.matchings] == [False, True, False]


def test_proportional_attention_sees_a_merged_token_as_the_equal_tokens_that_it_was(configs):
    """Two columns of equal patches and equal positions: merging each pair changes nothing for whoever attends."""
    _, tower = towers(configs)[0]
    with torch.no_grad():
        grid = tower.embeddings.position_embedding.weight[1:].view(4, 4, 32)
        grid[:, 1::2] = grid[:, ::2]
    half = torch.randn(1, 3, 56, 28).unflatten(3, (2, 14))
    pixels = half.repeat_interleave(2, dim=3).flatten(3)
    whole = encode(tower, pixels, (0, 0, 0)).hidden

    # Patches stand at 1..16, so that the pairs are (1, 2), (3, 4): one of A and one of B each. Eight pairs merge.
    weighed = encode(tower, pixels, (8, 0, 0), proportional_attention=True)
    assert weighed.size is not None
    assert weighed.size.tolist() == [[1.0] + [2.0] * 8]
    torch.testing.assert_close(weighed.hidden[:, 1:], whole[:, 1::2], atol=1e-5, rtol=0)
    torch.testing.assert_close(weighed.hidden[:, 0], whole[:, 0], atol=1e-5, rtol=0)

    unweighed = encode(tower, pixels, (8, 0, 0), proportional_attention=False)
    assert (unweighed.hidden[:, 0] - whole[:, 0]).abs().max() > 1e-4


@pytest.mark.parametrize("proportional", [False, True])
def test_recomputing_activations_changes_no_decision_and_no_gradient(configs, monkeypatch, proportional):
    decided = []
    match = vision_encoder.match_tokens
    monkeypatch.setattr(vision_encoder, "match_tokens", lambda *args: decided.append(1) or match(*args))
    for _, tower in towers(configs):
        pixels = torch.randn(2, 3, 56, 56)
        tower.train()
        gradients, losses = [], []
        for recompute in (False, True):
            tower.zero_grad()
            decided.clear()
            tower.encoder.gradient_checkpointing = recompute
            loss = encode(tower, pixels, (4, 3, 2), proportional).hidden.square().mean()
            loss.backward()
            assert len(decided) == 3
            losses.append(loss.item())
            gradients.append({name: p.grad.clone() for name, p in tower.named_parameters() if p.grad is not None})
        assert losses[0] == losses[1]
        assert gradients[0].keys() == gradients[1].keys()
        for name, gradient in gradients[0].items():
            assert torch.equal(gradient, gradients[1][name]), name


def compiled_and_not(tower, backend: str, recompute: bool) -> None:
    tower.train()
    tower.encoder.gradient_checkpointing = recompute
    pixels = torch.randn(2, 3, 70, 56)
    results = []
    for run in (encode, torch.compile(encode, fullgraph=True, backend=backend)):
        tower.zero_grad()
        hidden = run(tower, pixels, (4, 3), True).hidden
        hidden.square().mean().backward()
        results.append([hidden.detach(), *(p.grad for p in tower.parameters() if p.grad is not None)])
    torch._dynamo.reset()
    assert len(results[0]) == len(results[1])
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "backend", "recompute"),
    [(0, "eager", False), (0, "eager", True), (1, "eager", False), (0, "aot_eager", False)],
)
def test_the_tower_compiles_without_a_graph_break_forward_and_backward(configs, kind, backend, recompute):
    compiled_and_not(towers(configs, num_hidden_layers=2)[kind][1], backend, recompute)


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_tower_compiled_to_kernels_computes_the_same(configs):
    compiled_and_not(towers(configs, num_hidden_layers=2)[0][1], "inductor", recompute=False)


def test_every_parameter_that_is_used_gets_a_gradient_and_no_other(configs):
    for _, tower in towers(configs):
        encode(tower, torch.randn(2, 3, 56, 56), (4, 3, 2)).hidden[:, 1:].square().sum().backward()
        unused = {name for name, _ in unused_parameters(tower, 3)}
        assert any(name.startswith(("encoder.layers.3.", "encoder.layer.3.")) for name in unused)
        for name, parameter in tower.named_parameters():
            assert (parameter.grad is None) == (name in unused), name
            if name not in unused and not name.endswith("k_proj.bias"):  # softmax cancels it
                assert parameter.grad.abs().sum() > 0, name


def positions_of(tower) -> torch.nn.Parameter:
    return next(parameter for name, parameter in tower.named_parameters() if "position_embedding" in name)


def test_position_embeddings_of_another_size_are_interpolated_and_train(configs):
    for _, tower in towers(configs):
        parameter = positions_of(tower)
        encode(tower, torch.randn(1, 3, 42, 84), (2, 2)).hidden.square().mean().backward()
        assert positions_of(tower) is parameter
        assert parameter.grad.abs().sum(dim=-1).min() > 0


@pytest.mark.parametrize(("side", "count"), [(6, 8), (27, 24), (4, 1), (16, 45), (2, 3), (1, 2)])
def test_the_weights_of_positions_are_pytorchs_bicubic(side, count):
    values = torch.randn(1, 5, side, side)
    expected = torch.nn.functional.interpolate(values, scale_factor=(count + 0.1) / side, mode="bicubic")
    weights = bicubic_weights(side, count)
    ours = weights @ values[0] @ weights.T
    torch.testing.assert_close(ours, expected[0, :, :count, :count], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("side", "count"), [(37, 16), (4, 7), (16, 37), (3, 1)])
def test_without_a_rest_they_are_pytorchs_bicubic_to_a_size(side, count):
    values = torch.randn(1, 5, side, side)
    expected = torch.nn.functional.interpolate(values, size=(count, count), mode="bicubic")
    weights = bicubic_weights(side, count, rest=0.0)
    torch.testing.assert_close(weights @ values[0] @ weights.T, expected[0], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(28, 28), (70, 42), (112, 98)])
@torch.no_grad()
def test_at_any_size_a_tower_that_resizes_positions_itself_gives_the_same_hidden_states(configs, size):
    """Positions differ in the last bits of float32, as two products sum in another order than torch's bicubic, and
    layers hand it on: 1.2e-7 was measured at hidden states up to 1.7 (4.6e-6 in 12 layers of 384 channels, up to 7)."""
    pixels = torch.randn(2, 3, *size)
    sized = [pair for pair in towers(configs) if KINDS[pair[0].config.model_type].any_size]
    assert len(sized) == 1
    for plain, tower in sized:
        expected = plain(pixels, output_hidden_states=True).hidden_states
        for layers in range(5):
            torch.testing.assert_close(encode(tower, pixels, (0,) * layers).hidden, expected[layers], atol=1e-6, rtol=0)


@torch.no_grad()
def test_what_dinov2_leaves_out_in_training_is_what_transformers_leaves_out(configs):
    dropping = configs.dinov2(drop_path_rate=0.4, hidden_dropout_prob=0.2)
    plain, tower = Dinov2Model(dropping).train(), Dinov2Model(dropping).train()
    tower.load_state_dict(plain.state_dict())
    install_merging(tower)
    pixels = torch.randn(3, 3, 56, 56)
    torch.manual_seed(5)
    expected = plain(pixels, output_hidden_states=True).hidden_states[3]
    torch.manual_seed(5)
    assert torch.equal(encode(tower, pixels, (0, 0, 0)).hidden, expected)
    assert not torch.equal(encode(tower, pixels, (0, 0, 0)).hidden, expected)


def test_a_constant_embedding_stays_constant_when_it_is_interpolated(configs):
    for _, tower in towers(configs):
        class_tokens = int(has_class_token(tower.config.model_type))
        with torch.no_grad():
            positions_of(tower).view(-1, 32)[class_tokens:] = 0.5
            positions = tower.embeddings._positions(7, 3, torch.device("cpu"))
        assert positions.shape == (21 + class_tokens, 32)
        torch.testing.assert_close(positions[class_tokens:], torch.full((21, 32), 0.5))


def test_pixels_that_do_not_fill_a_patch_are_cut_off(configs):
    _, tower = towers(configs)[0]
    pixels = torch.randn(1, 3, 60, 69)
    cut = encode(tower, pixels[..., :56, :56], (2,)).hidden
    # A convolution over larger rows may sum in another order, though no machine that was tried does.
    torch.testing.assert_close(encode(tower, pixels, (2,)).hidden, cut, atol=1e-6, rtol=0)


def test_bfloat16_stays_near_float32(configs):
    for _, tower in towers(configs):
        pixels = torch.randn(2, 3, 56, 56)
        exact = encode(tower, pixels, (0, 0, 0)).hidden
        rough = encode(tower.bfloat16(), pixels, (0, 0, 0)).hidden
        assert (rough.float() - exact).abs().max() < 0.03 * exact.abs().max()
        assert encode(tower, pixels, (4, 3, 2), proportional_attention=True).hidden.dtype == torch.bfloat16


def test_other_towers_are_refused_by_name():
    with pytest.raises(UsageError, match="the vision tower is a vit; CLIP, SigLIP and DINOv2"):
        has_class_token(ViTConfig().model_type)
