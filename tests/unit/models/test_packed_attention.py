import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aurora_cli.models.packed_attention import block_causal_mask, packed_attention, segments_of


def test_segments_are_the_lengths_of_the_runs_of_equal_ids():
    assert segments_of(torch.tensor([[1, 1, 2, 0], [1, 1, 1, 1]])) == [[2, 1, 1], [4]]
    assert segments_of(torch.tensor([[3]])) == [[1]]


def test_the_mask_lets_a_token_see_its_own_sample_up_to_itself():
    assert block_causal_mask(torch.tensor([[1, 1, 2]])).int().tolist() == [[[[1, 0, 0], [1, 1, 0], [0, 0, 1]]]]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.sampled_from([1, 2, 4]), st.integers(0, 2**31))
@settings(deadline=None)
def test_attending_sample_by_sample_is_attending_under_the_mask(lengths, key_heads, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.repeat_interleave(torch.arange(1, len(lengths) + 1), torch.tensor(lengths))[None]
    ids = torch.cat([ids, ids.flip(1)])
    width = ids.shape[1]
    module = nn.Module()
    module.num_key_value_groups = 4 // key_heads  # pyright: ignore[reportAttributeAccessIssue]
    query, key, value = (torch.randn(2, heads, width, 8, generator=generator) for heads in (4, key_heads, key_heads))
    packed, _ = packed_attention(module, query, key, value, None, segments=segments_of(ids))
    masked, _ = packed_attention(module, query, key, value, block_causal_mask(ids))
    torch.testing.assert_close(packed, masked, atol=1e-5, rtol=1e-5)


def test_without_segments_it_is_plain_causal_attention():
    query = torch.randn(1, 2, 7, 4)
    plain = nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    assert torch.equal(packed_attention(nn.Module(), query, query, query, None)[0], plain.transpose(1, 2))
