import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import CLIPVisionConfig, SiglipVisionConfig

from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import SettingsError, UsageError
from aurora_cli.models.config import AuroraCapConfig
from aurora_cli.models.merge_plan import FrameTokenCounts, layers_before, num_visual_tokens, removal_plan


def exact(ratio: float) -> TokenMerging:
    return TokenMerging(kept_ratio=ratio)


def constant(ratio: float) -> TokenMerging:
    return TokenMerging(kept_ratio=ratio, schedule="constant", proportional_attention=False)


def line(patches: int, layers: int, merging: TokenMerging, class_token: bool = True) -> tuple[int, ...]:
    """The plan of a frame one patch high."""
    return removal_plan(14, 14 * patches, 14, layers + 1, layers, merging, class_token)


def obvious_plan(patches: int, kept: int, layers: int, class_token: bool) -> list[int]:
    """The rule of the documentation, one token at a time: what is too much for a layer goes to the nearest before."""
    removed = patches - kept
    plan = [removed // layers + (layer < removed % layers) for layer in range(layers)]

    def limit(layer: int) -> int:
        return (patches + class_token - sum(plan[:layer]) - class_token) // 2

    while any(plan[layer] > limit(layer) for layer in range(layers)):
        layer = next(layer for layer in range(layers) if plan[layer] > limit(layer))
        plan[layer] -= 1
        plan[layer - 1] += 1
    return plan


@pytest.mark.parametrize(
    ("ratio", "schedule", "tokens"),
    [
        *((0.1, "constant", 109), (0.2, "constant", 171), (0.5, "constant", 388), (1.0, "constant", 729)),
        *((0.1, "exact", 73), (0.2, "exact", 146), (0.5, "exact", 364), (1.0, "exact", 729)),
    ],
)
def test_a_frame_of_the_published_model_has_the_known_number_of_tokens(ratio, schedule, tokens):
    assert num_visual_tokens(378, 378, merging=TokenMerging(kept_ratio=ratio, schedule=schedule)) == tokens


def test_an_even_plan_gives_the_first_layers_one_more():
    assert line(36, 5, exact(0.25)) == (6, 6, 5, 5, 5)  # 27 = 5 * 5 + 2


def test_what_a_layer_cannot_halve_goes_to_the_layer_before():
    # Even would be 7 7 6 6 6 on 37 30 23 17 11 tokens. The last layer can take (11 - 1) // 2 = 5: one goes back, and
    # with 10 tokens it can take 4: another.
    assert line(36, 5, exact(0.1)) == (7, 7, 6, 8, 4)


def test_the_original_counts_the_fraction_of_a_patch_at_a_ragged_edge():
    # 100 * 100 / 196 = 51.02 patches, of which 49 are whole: int(51.02 * 0.9 / 9) = 5, and int(49 * 0.9 / 9) = 4.
    assert removal_plan(100, 100, 14, 9, 2, constant(0.1)) == (5, 5)


def test_no_layer_of_the_original_schedule_merges_more_than_half():
    assert line(6, 5, constant(0.1)) == (0, 0, 0, 0, 0)  # int(6 * 0.9 / 6) = 0
    assert removal_plan(14, 14 * 40, 14, 2, 4, constant(0.1)) == (18, 11, 5, 3)  # 41, 23, 12, 7 tokens


@given(st.integers(1, 2000), st.integers(2, 48), st.floats(0.001, 1.0), st.booleans())
@example(2000, 2, 0.25, True)
@example(1, 2, 0.4, True)
def test_exact_keeps_what_the_number_says_or_names_the_least_that_can_be(patches, layers, ratio, class_token):
    size = {"height": 14, "width": 14 * patches, "num_layers": layers, "class_token": class_token}
    try:
        kept, refusal = num_visual_tokens(**size, merging=exact(ratio)), ""
    except SettingsError as error:
        kept, refusal = None, str(error)
    if kept is not None:
        assert kept == round(ratio * patches)
        return
    least = float(refusal.rpartition("(kept ratio ")[2].rstrip(")"))
    kept_at_least = num_visual_tokens(**size, merging=exact(least))
    assert least > ratio
    assert round(ratio * patches) < kept_at_least
    assert f"keep at least {kept_at_least} of them" in refusal


@given(
    st.integers(1, 2000), st.integers(1, 47), st.floats(0.001, 1.0), st.booleans(), st.sampled_from([exact, constant])
)
def test_a_layer_never_merges_more_than_half_and_never_the_class_token(patches, layers, ratio, class_token, schedule):
    try:
        plan = line(patches, layers, schedule(ratio), class_token)
    except SettingsError:
        return
    tokens = patches + class_token
    for removed in plan:
        assert 0 <= removed <= (tokens - class_token) // 2
        tokens -= removed
    assert len(plan) == layers


@given(st.integers(1, 300), st.integers(1, 20), st.floats(0.01, 1.0), st.booleans())
def test_the_plan_is_the_obvious_one(patches, layers, ratio, class_token):
    try:
        plan = line(patches, layers, exact(ratio), class_token)
    except SettingsError:
        return
    assert list(plan) == obvious_plan(patches, round(ratio * patches), layers, class_token)


def test_a_tower_without_a_class_token_can_halve_all():
    assert line(8, 3, exact(0.125), class_token=False) == (4, 2, 1)


def test_a_ratio_out_of_reach_names_the_least_the_layers_can_keep():
    with pytest.raises(SettingsError, match=r"7 of 729 tokens.*5 layers keep at least 23.*kept ratio 0\.0309"):
        num_visual_tokens(378, 378, num_layers=6, merging=exact(0.01))


def test_feature_layers_count_from_both_ends():
    assert [layers_before(layer, 12) for layer in (-13, -2, -1, 0, 12)] == [0, 11, 12, 0, 12]
    with pytest.raises(SettingsError, match="hidden states -13 to 12"):
        layers_before(13, 12)


def test_a_frame_smaller_than_a_patch_is_an_error():
    with pytest.raises(UsageError, match="10x378 pixels is smaller than a patch"):
        num_visual_tokens(10, 378)


def test_slow_fast_keeps_the_first_frame_of_videos_only():
    counts = FrameTokenCounts(merged=3, first=10)
    assert counts.per_frame([1, 4, 1, 2]) == [3, 10, 3, 3, 3, 3, 10, 3]
    assert FrameTokenCounts(merged=3, first=3).per_frame([1, 4]) == [3, 3, 3, 3, 3]
    assert counts.per_frame([]) == []


@given(st.lists(st.integers(1, 9), max_size=6), st.integers(1, 99), st.integers(1, 99))
def test_the_tokens_of_a_sample_are_those_of_its_frames(media_lengths, merged, first):
    counts = FrameTokenCounts(merged, first)
    videos = sum(length > 1 for length in media_lengths)
    assert counts.in_all(sum(media_lengths), videos) == sum(counts.per_frame(media_lengths))


@pytest.mark.parametrize("layer", [-2, -1, 3])
@pytest.mark.parametrize("kind", [CLIPVisionConfig, SiglipVisionConfig])
def test_a_config_counts_what_is_counted_without_a_model(kind, layer):
    vision = kind(num_hidden_layers=6, patch_size=14)
    class_token = kind is CLIPVisionConfig
    config = AuroraCapConfig(vision_config=vision, vision_feature_layer=layer)
    for merging in (exact(0.3), constant(0.3)):
        counts = config.frame_token_counts(90, 120, merging)
        merged = num_visual_tokens(90, 120, 14, 6, layer, class_token, merging)
        assert counts == (merged, merged)
        slowfast = TokenMerging(kept_ratio=0.3, schedule=merging.schedule, slowfast=True)
        assert config.frame_token_counts(90, 120, slowfast) == (merged, 48)
    assert config.frame_token_counts(90, 120) == (48, 48)
