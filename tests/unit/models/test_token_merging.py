import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aurora_cli.models.token_merging import Matching, log_size_bias, match_tokens, merge_tokens, slots_of, trace_tokens


def obvious_merge(
    tokens: Tensor, size: Tensor, metric: Tensor, removed: int, class_token: bool
) -> tuple[Tensor, Tensor]:
    """One image, written as the paper describes it."""
    half_a, half_b = list(range(0, len(tokens), 2)), list(range(1, len(tokens), 2))
    cosine = torch.nn.functional.cosine_similarity
    edges = []
    for a in half_a:
        if class_token and a == 0:
            continue
        likeness = [float(cosine(metric[a], metric[b], dim=0)) for b in half_b]
        best = max(range(len(half_b)), key=lambda index: likeness[index])
        edges.append((likeness[best], a, half_b[best]))
    edges.sort(key=lambda edge: -edge[0])
    gone = {a: b for _, a, b in edges[:removed]}
    rows, sizes = [], []
    for index in [a for a in half_a if a not in gone] + half_b:
        members = [index] + [a for a, b in gone.items() if b == index]
        total = sum(size[member] for member in members)
        rows.append(sum(tokens[member] * size[member] for member in members) / total)
        sizes.append(total)
    return torch.stack(rows), torch.stack(sizes)


def test_the_most_alike_pair_merges_and_the_rest_keeps_its_order():
    # A: class (1, 0), (0, 1), (1, 1); B: (1, 0.1), (0.1, 1). Best: (0, 1) with the second of B.
    metric = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [1.0, 1.0]]])
    matching = match_tokens(metric, 1)
    assert matching.kept.tolist() == [[0, 2]]
    assert matching.merged.tolist() == [[1]]
    assert matching.target.tolist() == [[1]]
    assert slots_of(matching, 5).tolist() == [[0, 2, 3, 3, 1]]

    tokens = torch.tensor([[[10.0], [20.0], [30.0], [60.0], [50.0]]])
    merged, size = merge_tokens(tokens, torch.tensor([[1.0, 1.0, 2.0, 1.0, 1.0]]), matching)
    assert merged.tolist() == [[[10.0], [50.0], [20.0], [40.0]]]  # (2 * 30 + 1 * 60) / 3 = 40
    assert size.tolist() == [[1.0, 1.0, 1.0, 3.0]]


sizes = st.tuples(st.integers(2, 40), st.floats(0, 1), st.booleans(), st.integers(0, 2**31))


@pytest.mark.slow
@given(sizes)
@settings(max_examples=60)
def test_merging_is_the_obvious_one(drawn):
    tokens_n, share, class_token, seed = drawn
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(2, tokens_n, 5, generator=generator)
    metric = torch.randn(2, tokens_n, 4, generator=generator)
    size = torch.randint(1, 9, (2, tokens_n), generator=generator).float()
    removed = int(share * ((tokens_n - class_token) // 2))
    merged, merged_size = merge_tokens(tokens, size, match_tokens(metric, removed, class_token))
    for image in range(2):
        rows, row_sizes = obvious_merge(tokens[image], size[image], metric[image], removed, class_token)
        torch.testing.assert_close(merged[image], rows, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(merged_size[image], row_sizes)


@given(sizes)
@settings(max_examples=60)
def test_patches_and_the_mean_over_them_are_conserved(drawn):
    tokens_n, share, class_token, seed = drawn
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(3, tokens_n, 6, generator=generator, dtype=torch.float32)
    removed = int(share * ((tokens_n - class_token) // 2))
    matching = match_tokens(tokens, removed, class_token)
    merged, size = merge_tokens(tokens, None, matching)
    assert size.sum(dim=1).tolist() == [tokens_n] * 3
    assert merged.shape == (3, tokens_n - removed, 6)
    torch.testing.assert_close((merged * size[..., None]).sum(dim=1), tokens.sum(dim=1), atol=1e-4, rtol=1e-4)
    assert torch.equal(
        torch.zeros_like(size).scatter_add_(1, slots_of(matching, tokens_n), torch.ones(3, tokens_n)), size
    )


@pytest.mark.slow
@given(st.integers(2, 40), st.lists(st.floats(0, 1), min_size=1, max_size=5), st.integers(0, 2**31))
@settings(max_examples=40)
def test_a_traced_token_is_the_mean_of_the_patches_that_went_into_it(tokens_n, shares, seed):
    start = torch.randn(2, tokens_n, 4, generator=torch.Generator().manual_seed(seed))
    tokens, size, matchings = start, None, []
    for share in shares:
        removed = int(share * ((tokens.shape[1] - 1) // 2))
        matchings.append(match_tokens(tokens, removed) if removed else None)
        if removed:
            tokens, size = merge_tokens(tokens, size, matchings[-1])
    slots = trace_tokens(matchings, tokens_n).expand(2, -1)
    for image in range(2):
        for token in range(tokens.shape[1]):
            members = start[image, slots[image] == token]
            torch.testing.assert_close(tokens[image, token], members.mean(dim=0), atol=1e-5, rtol=1e-5)
            assert size is None or size[image, token] == len(members)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(0, 2**31))
@settings(max_examples=40)
def test_a_token_that_stands_for_k_equal_ones_is_attended_to_as_they_are(times, seed):
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(1, 2, len(times), 4, generator=generator) for _ in range(3))
    size = torch.tensor([times]).float()
    each = torch.tensor(times)
    attend = torch.nn.functional.scaled_dot_product_attention
    unmerged = attend(query, key.repeat_interleave(each, dim=2), value.repeat_interleave(each, dim=2))
    merged = attend(query, key, value, attn_mask=log_size_bias(size, query.dtype))
    torch.testing.assert_close(merged, unmerged, atol=1e-5, rtol=0)


def test_the_class_token_stays_first_and_alone():
    metric = torch.ones(1, 9, 3)
    matching = match_tokens(metric, 4)
    assert slots_of(matching, 9)[0, 0] == 0
    assert merge_tokens(metric, None, matching)[1][0, 0] == 1.0


def test_images_of_a_batch_do_not_touch_each_other():
    tokens = torch.randn(5, 17, 8)
    order = torch.tensor([3, 0, 4, 1, 2])
    merged, size = merge_tokens(tokens, None, match_tokens(tokens, 6))
    permuted, permuted_size = merge_tokens(tokens[order], None, match_tokens(tokens[order], 6))
    # An image's matrix of 17 x 8 is aligned otherwise at another index of the batch; the sizes are whole numbers.
    torch.testing.assert_close(permuted, merged[order], atol=1e-6, rtol=0)
    assert torch.equal(permuted_size, size[order])


def test_equal_pairs_merge_in_the_order_of_their_indices():
    assert match_tokens(torch.ones(1, 9, 3), 2).merged.tolist() == [[1, 2]]


def test_patches_of_a_plain_surface_merge_in_float32_as_in_float64():
    """Cosines of 0.9999 taken as products in float32, 3e-7 off, would decide 35 of these 1,000 images otherwise.

    The four best pairs, or others as good: likenesses are 7.5e-10 off, and two that compete are 5.7e-10 apart.
    """
    generator = torch.Generator().manual_seed(0)
    metric = torch.randn(1, 1, 8, generator=generator) + 0.01 * torch.randn(1000, 17, 8, generator=generator)
    unit = torch.nn.functional.normalize(metric.double(), dim=-1)
    cosine_BAB = unit[:, ::2] @ unit[:, 1::2].transpose(1, 2)
    best = cosine_BAB.max(dim=-1).values[:, 1:].sort(dim=-1, descending=True).values[:, :4]  # without the class token
    image = torch.arange(1000)[:, None]

    matching = match_tokens(metric, 4)
    torch.testing.assert_close(cosine_BAB[image, matching.merged, matching.target], best, atol=4e-9, rtol=0)

    rounded = torch.nn.functional.normalize(metric, dim=-1)
    likeness, target = (rounded[:, ::2] @ rounded[:, 1::2].transpose(1, 2))[:, 1:].max(dim=-1)
    merged = likeness.argsort(dim=-1, descending=True)[:, :4]
    naive = cosine_BAB[image, merged + 1, target.gather(1, merged)]
    assert int(((naive - best).abs() > 4e-9).any(dim=1).sum()) > 20


def test_a_blank_image_merges_without_nan():
    merged, size = merge_tokens(torch.zeros(1, 9, 3), None, match_tokens(torch.zeros(1, 9, 3), 4))
    assert torch.equal(merged, torch.zeros(1, 5, 3))
    assert size.sum() == 9


def test_bfloat16_is_matched_and_weighed_in_float32():
    tokens = torch.randn(2, 33, 16)
    rounded = tokens.bfloat16()
    matching = match_tokens(rounded, 12)
    for indices, other in zip(matching, match_tokens(rounded.float(), 12), strict=True):
        assert torch.equal(indices, other)
    merged, size = merge_tokens(rounded, None, matching)
    assert (merged.dtype, size.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(merged.float(), merge_tokens(rounded.float(), None, matching)[0], atol=2e-2, rtol=1e-2)


def test_autocast_does_not_change_a_decision():
    tokens = torch.randn(2, 33, 16)
    plain = match_tokens(tokens, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = match_tokens(tokens, 12)
        merged, _ = merge_tokens(tokens, None, cast)
    assert torch.equal(plain.merged, cast.merged)
    assert merged.dtype == torch.float32


@pytest.mark.slow
def test_merging_compiles_without_a_graph_break():
    def merge_once(tokens: Tensor) -> Tensor:
        merged, size = merge_tokens(tokens, None, match_tokens(tokens, 4))
        return merged + log_size_bias(size, tokens.dtype)[:, 0, 0, :, None]

    tokens = torch.randn(2, 17, 8)
    compiled = torch.compile(merge_once, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(tokens), merge_once(tokens))


def test_gradient_reaches_every_token_in_proportion_to_its_weight():
    tokens = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]], requires_grad=True)
    matching = Matching(torch.tensor([[0]]), torch.tensor([[1]]), torch.tensor([[1]]))
    merged, _ = merge_tokens(tokens, torch.tensor([[1.0, 1.0, 3.0, 1.0]]), matching)
    merged.sum().backward()
    assert tokens.grad is not None
    assert tokens.grad[0, :, 0].tolist() == [1.0, 1.0, 0.75, 0.25]
