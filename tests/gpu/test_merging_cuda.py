"""The tower and the model on CUDA; without one these tests skip themselves."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig

from aurora_cli.config.merging import TokenMerging
from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig
from aurora_cli.models.merge_plan import removal_plan
from aurora_cli.models.packed_attention import _has_flash, packed_attention, segments_of
from aurora_cli.models.token_merging import match_tokens, merge_tokens
from aurora_cli.models.vision_encoder import encode, install_merging
from tests.batches import batch, packed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

LAYERS, SIDE = 6, 224
SLOWFAST = TokenMerging(kept_ratio=0.3, slowfast=True)


@pytest.fixture
def tower() -> CLIPVisionModel:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=14,
    )
    tower = CLIPVisionModel(config)
    install_merging(tower)
    return tower.cuda()


def plan(height: int = SIDE, width: int = SIDE, ratio: float = 0.2) -> tuple[int, ...]:
    return removal_plan(height, width, 14, LAYERS, LAYERS - 1, TokenMerging(kept_ratio=ratio))


def model() -> AuroraCap:
    torch.manual_seed(1)
    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, image_size=56, patch_size=14
    )
    text = LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    merging = SLOWFAST.model_dump()
    return AuroraCap(AuroraCapConfig(vision_config=vision, text_config=text, image_token_index=64, merging=merging))


def on_cuda(inputs: dict) -> dict:
    return {name: value.cuda() if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}


def test_a_matching_on_cuda_is_that_of_the_cpu_and_merging_too() -> None:
    torch.manual_seed(0)
    tokens, metric = torch.randn(3, 257, 64), torch.randn(3, 257, 32, dtype=torch.float64)
    here = match_tokens(metric.float(), 90)
    there = match_tokens(metric.float().cuda(), 90)
    for ours, cuda in zip(here, there, strict=True):
        assert torch.equal(ours, cuda.cpu())
    merged, size = merge_tokens(tokens, None, here)
    merged_cuda, size_cuda = merge_tokens(tokens.cuda(), None, there)
    torch.testing.assert_close(merged_cuda.cpu(), merged, atol=1e-5, rtol=1e-5)
    assert torch.equal(size_cuda.cpu(), size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("proportional", [False, True])
def test_forward_and_merging_give_the_same_bits_every_time(tower, dtype, proportional) -> None:
    tower = tower.to(dtype)
    pixels = torch.randn(4, 3, 210, SIDE, device="cuda", dtype=dtype)
    with torch.no_grad():
        first, *others = (encode(tower, pixels, plan(210), proportional) for _ in range(5))
    for other in others:
        assert torch.equal(other.hidden, first.hidden)
        assert torch.equal(other.size, first.size)
        for one, again in zip(first.matchings, other.matchings, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))


def test_merging_and_positions_pass_back_the_same_gradients_every_time(tower) -> None:
    """Under deterministic algorithms PyTorch raises where it has none."""
    pixels = torch.randn(4, 3, 210, SIDE, device="cuda")
    torch.use_deterministic_algorithms(True)
    try:
        results = []
        for _ in range(3):
            tower.zero_grad()
            with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
                encode(tower, pixels, plan(210), True).hidden.square().mean().backward()
            results.append({name: p.grad.clone() for name, p in tower.named_parameters() if p.grad is not None})
    finally:
        torch.use_deterministic_algorithms(False)
    for other in results[1:]:
        for name, gradient in results[0].items():
            assert torch.equal(other[name], gradient), name


def test_without_proportional_attention_the_tower_runs_on_flash_attention(tower) -> None:
    tower = tower.bfloat16()
    pixels = torch.randn(2, 3, SIDE, SIDE, device="cuda", dtype=torch.bfloat16)
    exact = encode(tower, pixels, plan()).hidden
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        flash = encode(tower, pixels, plan())
    assert flash.hidden.shape == exact.shape
    with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION]):
        encode(tower, pixels, plan(), proportional_attention=True).hidden.sum().backward()


def test_bfloat16_stays_near_float32(tower) -> None:
    pixels = torch.randn(2, 3, SIDE, SIDE, device="cuda")
    exact = encode(tower, pixels, (0,) * (LAYERS - 1)).hidden
    rough = encode(tower.bfloat16(), pixels, (0,) * (LAYERS - 1)).hidden
    assert (rough.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_sizes_stay_whole_numbers_in_bfloat16(tower) -> None:
    encoded = encode(tower.bfloat16(), torch.randn(2, 3, SIDE, SIDE, device="cuda"), plan(ratio=0.05), True)
    assert encoded.size.dtype == torch.float32
    assert encoded.size.sum(dim=1).tolist() == [257.0, 257.0]


@pytest.mark.parametrize("recompute", [False, True])
def test_the_compiled_tower_computes_the_same(tower, recompute) -> None:
    tower.train()
    tower.encoder.gradient_checkpointing = recompute
    pixels = torch.randn(2, 3, SIDE, SIDE, device="cuda")
    results = []
    for run in (encode, torch.compile(encode, fullgraph=True)):
        tower.zero_grad()
        hidden = run(tower, pixels, plan(), True).hidden
        hidden.square().mean().backward()
        results.append([hidden.detach(), *(p.grad for p in tower.parameters() if p.grad is not None)])
    torch._dynamo.reset()
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain, atol=1e-3, rtol=1e-2)


def test_the_tower_never_waits_for_the_card(tower) -> None:
    tower.train()
    pixels = torch.randn(2, 3, 210, SIDE, device="cuda")
    encode(tower, pixels, plan(210), True).hidden.sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        encode(tower, pixels, plan(210), True).hidden.sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_packed_training_step_on_cuda_is_that_of_the_cpu() -> None:
    network, inputs = model(), batch()
    arguments = packed(network, inputs, SLOWFAST)
    here = network(**arguments, always_encode=True).loss
    there = network.cuda()(**on_cuda(arguments), always_encode=True).loss
    assert there.item() == pytest.approx(here.item(), abs=1e-4)
    network.train()
    network.checkpoint_activations()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        rough = network(**on_cuda(arguments), always_encode=True).loss
    rough.backward()
    assert rough.item() == pytest.approx(here.item(), abs=0.03)
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_generating_on_cuda_is_generating_on_the_cpu() -> None:
    network, inputs = model().eval(), batch()
    del inputs["labels"]
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
    here = network.generate(**inputs, **options)
    assert network.cuda().generate(**on_cuda(inputs), **options).tolist() == here.tolist()


@pytest.mark.parametrize("key_heads", [2, 8])
def test_one_kernel_attends_as_sample_by_sample(key_heads) -> None:
    if not _has_flash(torch.device("cuda", 0)):
        pytest.skip("this card or this torch has no varlen_attn")
    generator = torch.Generator("cuda").manual_seed(0)
    lengths = torch.tensor([300, 1, 77, 500, 146], device="cuda")
    ids = torch.repeat_interleave(torch.arange(1, 6, device="cuda"), lengths)[None].expand(2, -1)
    draw = {"generator": generator, "device": "cuda", "dtype": torch.bfloat16}
    heads = [torch.randn(2, count, 1024, 64, **draw).requires_grad_() for count in (8, key_heads, key_heads)]
    module = torch.nn.Module()
    module.num_key_value_groups = 8 // key_heads
    at_once = packed_attention(module, *heads, None, segments=segments_of(ids))[0]
    exact = [head.detach().float().requires_grad_() for head in heads]  # float32: sdpa, sample by sample
    looped = packed_attention(module, *exact, None, segments=segments_of(ids))[0]
    torch.testing.assert_close(at_once.float(), looped, atol=2e-2, rtol=2e-2)
    weight = torch.randn(looped.shape, generator=generator, device="cuda")
    (at_once.float() * weight).sum().backward()
    (looped * weight).sum().backward()
    for ours, wanted in zip(heads, exact, strict=True):
        torch.testing.assert_close(ours.grad.float(), wanted.grad, atol=5e-2, rtol=5e-2)
