from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from aurora_cli.models.packed_attention import attend_at_once, block_causal_mask, packed_attention, segments_of


def test_segments_are_the_lengths_of_the_runs_of_equal_ids():
    segments = segments_of(torch.tensor([[1, 1, 2, 0], [1, 1, 1, 1]]))
    assert segments.lengths == [[2, 1, 1], [4]]
    assert segments.bounds_N.tolist() == [0, 2, 3, 4, 8]
    assert segments_of(torch.tensor([[3]])).lengths == [[1]]


def test_the_mask_lets_a_token_see_its_own_sample_up_to_itself():
    assert block_causal_mask(torch.tensor([[1, 1, 2]])).int().tolist() == [[[[1, 0, 0], [1, 1, 0], [0, 0, 1]]]]


def varlen_written_out(query, key, value, starts, _, longest, __, *, scale, window_size, enable_gqa):
    """What `torch.nn.attention.varlen.varlen_attn` promises: tokens x heads x channels, sample by sample."""
    assert window_size == (-1, 0)
    assert longest == starts.diff().max()
    runs = [
        nn.functional.scaled_dot_product_attention(
            *(x[start:stop].transpose(0, 1)[None] for x in (query, key, value)),
            is_causal=True, scale=scale, enable_gqa=enable_gqa,
        )[0].transpose(0, 1)
        for start, stop in pairwise(starts.tolist())
    ]  # fmt: skip
    return torch.cat(runs)


@pytest.mark.slow
@pytest.mark.parametrize("key_heads", [2, 4])
def test_one_kernel_is_handed_every_sample_as_the_loop_takes_it(monkeypatch, key_heads):
    varlen = pytest.importorskip("torch.nn.attention.varlen", reason="torch has no varlen_attn")
    monkeypatch.setattr(varlen, "varlen_attn", varlen_written_out)
    ids = torch.tensor([[1, 1, 1, 2, 2, 3, 0, 0], [1, 2, 2, 2, 2, 2, 2, 2]])
    module = nn.Module()
    module.num_key_value_groups = 4 // key_heads
    query, key, value = (torch.randn(2, heads, 8, 16) for heads in (4, key_heads, key_heads))
    segments = segments_of(ids)
    looped, _ = packed_attention(module, query, key, value, None, segments=segments, scaling=0.3)
    torch.testing.assert_close(attend_at_once(query, key, value, segments, 0.3), looped)


@pytest.mark.slow
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.sampled_from([1, 2, 4]), st.integers(0, 2**31))
def test_attending_sample_by_sample_is_attending_under_the_mask(lengths, key_heads, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.repeat_interleave(torch.arange(1, len(lengths) + 1), torch.tensor(lengths))[None]
    ids = torch.cat([ids, ids.flip(1)])
    width = ids.shape[1]
    module = nn.Module()
    module.num_key_value_groups = 4 // key_heads
    query, key, value = (torch.randn(2, heads, width, 8, generator=generator) for heads in (4, key_heads, key_heads))
    packed, _ = packed_attention(module, query, key, value, None, segments=segments_of(ids))
    masked, _ = packed_attention(module, query, key, value, block_causal_mask(ids))
    torch.testing.assert_close(packed, masked, atol=1e-5, rtol=1e-5)


def test_without_segments_it_is_plain_causal_attention():
    query = torch.randn(1, 2, 7, 4)
    plain = nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    assert torch.equal(packed_attention(nn.Module(), query, query, query, None)[0], plain.transpose(1, 2))
