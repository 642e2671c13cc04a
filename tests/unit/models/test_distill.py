"""What a small kept ratio learns from a large one of the same network."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from aurora_cli.config.merging import TokenMerging
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.models.layers import lm_head
from aurora_cli.models.layers.lm_head import LMHead, TeacherStates, divergence
from aurora_cli.models.packed_rows import PackedRows

WHOLE, HALF = TokenMerging(kept_ratio=1.0), TokenMerging(kept_ratio=0.5)


def test_the_divergence_of_two_known_distributions() -> None:
    """KL of (1/2, 1/4, 1/4) from (1/4, 1/4, 1/2): 1/2 ln 2 - 1/4 ln 2. The softened ones of temperature 1/2 are the
    squares: (4, 1, 1) / 6 and (1, 1, 4) / 6, whose KL is 1/2 ln 4; times 1/4."""
    taught, said = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.25, 0.25, 0.5]]).log() + 3.0
    assert divergence(said, taught, 1.0).item() == pytest.approx(0.25 * math.log(2))
    assert divergence(said, taught, 0.5).item() == pytest.approx(0.25 * 0.5 * math.log(4))
    assert divergence(said, said, 2.0).item() == pytest.approx(0.0, abs=1e-7)


def test_the_head_gives_both_losses_in_chunks_or_at_once_and_learns_nothing_through_the_teacher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, temperature = LMHead(8, 50, bias=False), 2.0
    hidden, states = torch.randn(23, 8, requires_grad=True), torch.randn(15, 8, requires_grad=True)
    targets, has_state = torch.randint(0, 50, (23,)), torch.arange(23) % 3 > 0
    logits, taught = F.linear(hidden, head.weight), F.linear(states, head.weight).detach()
    apart = F.kl_div(
        (logits[has_state] / temperature).log_softmax(-1), (taught / temperature).softmax(-1), reduction="sum"
    )
    expected = torch.stack([F.cross_entropy(logits, targets, reduction="sum"), apart * temperature**2])
    gradients = torch.autograd.grad(expected.sum(), [hidden, head.weight])
    for chunk in (5, 23, 100):
        monkeypatch.setattr(lm_head, "CHUNK", chunk)
        both = head(hidden, targets, TeacherStates(states, has_state, 1.0, temperature))
        torch.testing.assert_close(both, expected)
        torch.testing.assert_close(torch.autograd.grad(both.sum(), [hidden, head.weight], retain_graph=True), gradients)
        assert torch.autograd.grad(both.sum(), [states], allow_unused=True) == (None,)


def rows_of(model: AuroraCap, merging: TokenMerging, text: torch.Tensor, pixel_values: torch.Tensor) -> PackedRows:
    """Two samples of one image in a row, the second half of each text its targets."""
    visual = model.config.frame_token_counts(56, 56, merging).merged
    image = torch.full((visual,), model.config.image_token_id)
    input_ids = torch.cat([torch.cat([image, one]) for one in text])
    half = text.shape[1] // 2
    labels = torch.cat([torch.cat([torch.full((visual + half,), -100), one[half:]]) for one in text])
    length = visual + text.shape[1]
    positions = torch.arange(length).repeat(len(text))
    segments = torch.arange(1, len(text) + 1).repeat_interleave(length)
    ids, places, numbers, wanted = (each[None] for each in (input_ids, positions, segments, labels))
    return PackedRows(ids, places, numbers, wanted, pixel_values, torch.tensor([1] * len(text)))


def test_a_network_is_no_way_from_itself_at_the_same_ratio_and_some_way_at_another(
    tiny: Callable[..., AuroraCap],
) -> None:
    model = tiny()
    text, pixels = torch.randint(3, 64, (2, 10)), torch.randn(2, 3, 56, 56)
    whole, half = (rows_of(model, merging, text, pixels) for merging in (WHOLE, HALF))
    with torch.no_grad():
        states = model(packed=whole, merging=WHOLE, states_only=True)
    assert states.shape == (10, 32)
    teacher = TeacherStates(states, torch.ones(10, dtype=torch.bool), 3.0, 1.0)
    same = model(packed=whole, merging=WHOLE, num_items_in_batch=4.0, teacher=teacher)
    alone = model(packed=whole, merging=WHOLE, num_items_in_batch=4.0)
    assert same.divergence.item() == pytest.approx(0.0, abs=1e-6)
    assert same.loss.item() == pytest.approx(alone.loss.item(), abs=1e-5)
    assert alone.divergence is None

    other = model(packed=half, merging=HALF, num_items_in_batch=4.0, teacher=teacher)
    apart = model(packed=half, merging=HALF, num_items_in_batch=1.0, teacher=teacher).divergence / 4
    assert apart.item() > 1e-4
    torch.testing.assert_close(other.divergence, apart)
    said = model(packed=half, merging=HALF, states_only=True)
    by_hand = divergence(model.lm_head(said), model.lm_head(states), 1.0).sum() / 4
    torch.testing.assert_close(other.divergence, by_hand)
    plain = model(packed=half, merging=HALF, num_items_in_batch=4.0)
    torch.testing.assert_close(other.loss, plain.loss + 3.0 * by_hand)


def test_states_in_another_precision_teach_the_same() -> None:
    head, hidden, targets = LMHead(8, 50, bias=False), torch.randn(4, 8), torch.arange(4)
    states = torch.randn(4, 8).bfloat16()
    both = [head(hidden, targets, TeacherStates(each, targets >= 0, 1.0, 1.0)) for each in (states, states.float())]
    assert torch.equal(*both)
    assert head(hidden, targets, TeacherStates(states[:0], targets < 0, 1.0, 1.0))[1] == 0.0
