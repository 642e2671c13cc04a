import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.errors import DataError
from aurora_cli.models.merge_plan import FrameTokenCounts, whole_frames
from aurora_cli.models.multimodal_inputs import (
    count_placeholders,
    expand_placeholders,
    media_of_rows,
    splice,
)
from aurora_cli.models.visual_tokens import in_reading_order


def test_a_placeholder_becomes_as_many_positions_as_its_frame_has_tokens():
    ids = torch.tensor([[5, -200, 6, 0], [9, 8, -200, -200]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    labels = torch.tensor([[-100, -100, 6, -100], [-100, 8, -100, -100]])
    rows = expand_placeholders(ids, mask, labels, tokens_of_frames=[2, 3, 1], pad_side="right")
    assert rows.input_ids.tolist() == [[5, 0, 0, 6, 0, 0], [9, 8, 0, 0, 0, 0]]
    assert rows.is_visual.int().tolist() == [[0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]]
    assert rows.attention_mask.int().tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 3, 0, 0], [0, 1, 2, 3, 4, 5]]
    assert rows.labels is not None
    assert rows.labels.tolist() == [[-100, -100, -100, 6, -100, -100], [-100, 8, -100, -100, -100, -100]]


def test_padding_moves_to_the_side_that_is_given():
    ids = torch.tensor([[0, 0, 7], [1, 2, 3]])
    mask = torch.tensor([[0, 0, 1], [1, 1, 1]])
    left = expand_placeholders(ids, mask, None, tokens_of_frames=[], pad_side="left")
    right = expand_placeholders(ids, mask, None, tokens_of_frames=[], pad_side="right")
    assert left.attention_mask.int().tolist() == [[0, 0, 1], [1, 1, 1]]
    assert left.position_ids.tolist() == [[0, 0, 0], [0, 1, 2]]
    assert right.input_ids.tolist() == [[7, 0, 0], [1, 2, 3]]


def test_a_placeholder_in_the_padding_is_no_frame():
    assert count_placeholders(torch.tensor([[-200, 5, -200]]), torch.tensor([[1, 1, 0]])) == [1]


def test_media_are_one_a_row_unless_their_lengths_are_given():
    assert media_of_rows([8, 0, 1], 9, None) == [8, 1]
    assert media_of_rows([3, 2], 5, [1, 2, 2]) == [1, 2, 2]


@pytest.mark.parametrize(
    ("placeholders", "frames", "lengths", "message"),
    [
        ([1, 2], 3, [1, 1], r"sample 1 has 2 placeholders .* its media have \[1\] frames"),
        ([1, 2], 4, [1, 3], r"sample 1 has 2 placeholders .* its media have \[3\] frames"),
        ([1, 2], 4, [1, 2, 1], "the last 1 have no placeholder .* sample 1 ends before"),
        ([1, 2, 1], 2, None, r"pixel_values has 2 frames; .* which is 4: sample 1 is the first without enough"),
        ([1, 0], 3, None, "2 frames are left behind sample 1"),
        ([1], 1, [1, 0], "every medium has at least one frame"),
    ],
)
def test_placeholders_and_frames_that_disagree_are_an_error_naming_the_sample(placeholders, frames, lengths, message):
    with pytest.raises(DataError, match=message):
        media_of_rows(placeholders, frames, lengths)


@pytest.mark.slow
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 9), st.integers(1, 9))
def test_reading_order_is_the_obvious_one(is_whole, merged, whole):
    blocks, start = {}, 0
    for kind, length in ((True, whole), (False, merged)):
        for frame, is_whole_frame in enumerate(is_whole):
            if is_whole_frame == kind:
                blocks[frame] = list(range(start, start + length))
                start += length
    expected = [index for frame in range(len(is_whole)) for index in blocks[frame]]
    assert in_reading_order(is_whole, FrameTokenCounts(merged, whole)).tolist() == expected


def test_slow_fast_marks_the_first_frame_of_videos():
    assert whole_frames([1, 3, 2], slowfast=True) == [False, True, False, False, True, False]
    assert whole_frames([1, 3], slowfast=False) == [False] * 4


def test_splicing_is_the_loop_over_rows_and_what_is_too_much_has_gradient_zero():
    text = torch.randn(2, 5, 3, requires_grad=True)
    visual = torch.randn(4, 3, requires_grad=True)
    is_visual = torch.tensor([[0, 1, 1, 0, 0], [0, 0, 0, 0, 1]]).bool()
    spliced = splice(text, is_visual, visual)
    assert torch.equal(spliced[0], torch.cat([text[0, :1], visual[:2], text[0, 3:]]))
    assert torch.equal(spliced[1], torch.cat([text[1, :4], visual[2:3]]))
    spliced.sum().backward()
    assert visual.grad is not None
    assert visual.grad.sum(dim=1).tolist() == [3, 3, 3, 0]
