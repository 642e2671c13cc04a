"""What the network makes of features that were kept, instead of pixels."""

import pytest
import torch

from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import DataError
from aurora_cli.models import visual_tokens
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.models.packed_rows import PackedRows
from tests.batches import batch, packed

HALF = TokenMerging(kept_ratio=0.5)
SLOWFAST = TokenMerging(kept_ratio=0.5, slowfast=True)
WAYS = [TokenMerging(), HALF, SLOWFAST, TokenMerging(kept_ratio=0.5, schedule="constant")]
FRAMES = 6
"""An image, an image, a video of three, an image."""


def frozen(model: AuroraCap) -> AuroraCap:
    model.train()
    for parameter in model.model.vision_tower.parameters():
        parameter.requires_grad_(False)
    return model


def rows_with(rows: PackedRows, is_cached: list[bool], features: torch.Tensor, tokens: list[int]) -> PackedRows:
    """The rows with some frames' features instead of their pixels."""
    assert rows.pixel_values is not None
    pieces = features.split(tokens)
    kept = [piece for piece, cached in zip(pieces, is_cached, strict=True) if cached]
    return rows._replace(
        pixel_values=rows.pixel_values[[not cached for cached in is_cached]],
        features=torch.cat(kept) if kept else features[:0],
        is_cached=torch.tensor(is_cached),
    )


@pytest.mark.parametrize("merging", WAYS)
@pytest.mark.parametrize("always_encode", [False, True])
def test_with_the_features_that_the_tower_gave_loss_and_gradients_are_the_same_to_the_bit(
    always_encode, merging, tiny, monkeypatch
):
    model = frozen(tiny(merging=merging))
    arguments = packed(model, batch(), merging)
    rows, tokens = arguments["packed"], model.config.frame_token_counts(56, 56, merging).per_frame([1, 1, 3, 1])
    plain = model(**arguments, always_encode=always_encode)
    plain.loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert plain.encoded is None
    model.zero_grad()

    none_there = rows_with(rows, [False] * FRAMES, torch.empty(sum(tokens), 32), tokens)
    first = model(packed=none_there, merging=merging, always_encode=always_encode)
    assert torch.equal(first.loss, plain.loss)
    features = first.encoded
    assert features.shape == (sum(tokens), 32)
    assert not features.requires_grad
    images = model.encode_images(rows.pixel_values[[0, 1, 5]], merging).detach()
    of_images = [features.split(tokens)[frame] for frame in (0, 1, 5)]
    torch.testing.assert_close(torch.stack(of_images), images, atol=1e-6, rtol=1e-5)

    monkeypatch.setattr(visual_tokens, "encode", lambda *_: pytest.fail("the tower ran"))
    model.zero_grad()
    all_there = rows_with(rows, [True] * FRAMES, features, tokens)
    again = model(packed=all_there, merging=merging, always_encode=always_encode)
    again.loss.backward()
    assert again.encoded is None
    assert torch.equal(again.loss, plain.loss)
    for name, gradient in expected.items():
        assert torch.equal(model.get_parameter(name).grad, gradient), name


@pytest.mark.parametrize("merging", WAYS)
def test_some_frames_cached_and_some_not_stand_where_they_belong(merging, tiny):
    """Every set of media; the tower then takes fewer frames at once, which may show in the last bits."""
    model = frozen(tiny(merging=merging))
    arguments = packed(model, batch(), merging)
    rows, tokens = arguments["packed"], model.config.frame_token_counts(56, 56, merging).per_frame([1, 1, 3, 1])
    expected = model(**arguments).loss
    features = model(packed=rows_with(rows, [False] * 6, torch.empty(sum(tokens), 32), tokens), merging=merging)
    features = features.encoded
    for some in range(1, 15):
        a, b, c, d = (bool(some >> bit & 1) for bit in range(4))
        is_cached = [a, b, c, c, c, d]
        output = model(packed=rows_with(rows, is_cached, features, tokens), merging=merging)
        assert output.loss.item() == pytest.approx(expected.item(), rel=1e-5)
        missing = [piece for piece, cached in zip(features.split(tokens), is_cached, strict=True) if not cached]
        torch.testing.assert_close(output.encoded, torch.cat(missing), atol=1e-5, rtol=1e-4)


def test_under_autocast_features_of_its_precision_are_as_good_as_those_that_the_tower_gave(tiny):
    """The projector casts what it reads to it: bf16 holds all of it."""
    model = frozen(tiny(merging=HALF))
    arguments = packed(model, batch(), HALF)
    rows, tokens = arguments["packed"], model.config.frame_token_counts(56, 56, HALF).per_frame([1, 1, 3, 1])
    with torch.autocast("cpu", torch.bfloat16):
        first = model(packed=rows_with(rows, [False] * 6, torch.empty(sum(tokens), 32), tokens), merging=HALF)
        kept = first.encoded.bfloat16()
        again = model(packed=rows_with(rows, [True] * 6, kept, tokens), merging=HALF)
        plain = model(**arguments)
    assert torch.equal(first.loss, plain.loss)
    assert torch.equal(again.loss, plain.loss)


def test_features_that_do_not_fit_the_frames_are_refused(tiny):
    model = frozen(tiny(merging=HALF))
    rows = packed(model, batch(), HALF)["packed"]
    tokens = model.config.frame_token_counts(56, 56, HALF).per_frame([1, 1, 3, 1])
    wrong = rows_with(rows, [True] * 6, torch.zeros(sum(tokens), 32), tokens)._replace(features=torch.zeros(7, 32))
    with pytest.raises(DataError, match="7 kept features, where 6 frames have 48"):
        model(packed=wrong, merging=HALF)
    with pytest.raises(DataError, match="pixel_values has 5 frames"):
        model(packed=wrong._replace(is_cached=torch.tensor([True] * 5 + [False])), merging=HALF)


@pytest.mark.parametrize("merging", [HALF, SLOWFAST])
def test_where_ranks_share_the_towers_weights_each_calls_it_as_often_as_the_others(merging, tiny, monkeypatch):
    """ZeRO-3: with some, all or none of the frames cached, and with none at all."""
    model = frozen(tiny(merging=merging))
    for parameter in model.model.vision_tower.parameters():
        parameter.ds_id = 1
    rows = packed(model, batch(), merging)["packed"]
    tokens = model.config.frame_token_counts(56, 56, merging).per_frame([1, 1, 3, 1])
    calls, real = [], visual_tokens.encode
    monkeypatch.setattr(visual_tokens, "encode", lambda *args: calls.append(1) or real(*args))
    counts = set()
    for is_cached in ([False] * 6, [True] * 6, [True] * 5 + [False], [False, True, True, True, True, True]):
        calls.clear()
        given = rows_with(rows, is_cached, torch.zeros(sum(tokens), 32), tokens)
        model(packed=given, merging=merging, always_encode=True)
        counts.add(len(calls))
    assert counts == {2 if merging.slowfast else 1}
