"""The samples of a step at the ratio that it learns from: their targets meet one for one, whatever stands between."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.config.merging import TokenMerging
from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.batches.collator import Batch, TrainingSample, collate
from aurora_cli.data.batches.teacher import with_teacher
from aurora_cli.models.layers.lm_head import label_mask
from aurora_cli.models.merge_plan import FrameTokenCounts

IMAGE_TOKEN = 99
FEW, MANY = FrameTokenCounts(1, 1), FrameTokenCounts(4, 4)
I, S = IGNORE_INDEX, IMAGE_PLACEHOLDER  # noqa: E741


def sample(
    number: int, ids: list[int], labels: list[int], media: list[int], failure: str | None = None
) -> TrainingSample:
    frames = np.full((sum(media), 4, 4, 3), number, np.uint8) if media else None
    return TrainingSample(
        number, str(number), np.array(ids, np.int32), np.array(labels, np.int32), media, frames, failure=failure
    )


def taught(packs: list[list[TrainingSample]], pack_tokens: int = 1000) -> Batch:
    batch = collate(packs, image_token_id=IMAGE_TOKEN, token_counts=FEW)
    merging = TokenMerging(kept_ratio=1.0)
    return with_teacher(
        batch, packs, image_token_id=IMAGE_TOKEN, token_counts=MANY, merging=merging, pack_tokens=pack_tokens
    )


TEXT = sample(7, [1, 5, 6], [I, 5, 6], [])
IMAGE = sample(8, [1, S, 9], [1, I, 9], [1])
VIDEO = sample(9, [S, S, 3, 4], [I, I, 3, 4], [2])


def test_rows_worked_by_hand() -> None:
    batch = taught([[TEXT, IMAGE], [VIDEO]])
    assert batch.input_ids.tolist() == [[1, 5, 6, 1, IMAGE_TOKEN, 9], [IMAGE_TOKEN] * 2 + [3, 4, 0, 0]]
    assert batch.teacher is not None
    rows, has_teacher, has_frames = batch.teacher
    assert rows.input_ids.tolist() == [[1, 5, 6, 1, *[IMAGE_TOKEN] * 4, 9, 0], [IMAGE_TOKEN] * 8 + [3, 4]]
    assert rows.labels.tolist() == [[I, 5, 6, *[I] * 5, 9, I], [I] * 8 + [3, 4]]
    assert rows.segment_ids.tolist() == [[1] * 3 + [2] * 6 + [0], [1] * 10]
    assert rows.position_ids[0, :9].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5]
    assert (has_teacher.tolist(), has_frames) == ([True] * 5, None)
    assert rows.pixel_values is None, "the frames are the batch's own"
    assert rows.media_lengths is not None
    assert rows.media_lengths.tolist() == [1, 2]
    assert rows.merging == TokenMerging(kept_ratio=1.0)


def test_a_sample_that_no_pack_holds_there_teaches_nothing() -> None:
    """The video has 4 tokens here and 10 there, the others 3 and 6."""
    batch = taught([[TEXT, VIDEO, IMAGE], [VIDEO]], pack_tokens=9)
    assert batch.teacher is not None
    rows, has_teacher, has_frames = batch.teacher
    assert has_teacher.tolist() == [True] * 2 + [False] * 2 + [True] + [False] * 2
    assert has_frames is not None
    assert has_frames.tolist() == [False, False, True, False, False]
    assert rows.labels.tolist() == [[I, 5, 6, *[I] * 5, 9], [I] * 9]
    assert rows.media_lengths is not None
    assert rows.media_lengths.tolist() == [1]


def test_nothing_has_teacher_where_there_is_nothing() -> None:
    batch = taught([[], []])
    assert batch.teacher is not None
    assert (batch.teacher.has_teacher.tolist(), batch.teacher.batch.pixel_values) == ([], None)
    assert taught([[sample(3, [1, S, 9], [I, I, 9], [1], failure="unreadable")], []]).teacher is not None


@st.composite
def samples(draw: st.DrawFn) -> TrainingSample:
    media = draw(st.lists(st.integers(1, 3), max_size=2))
    parts = draw(st.lists(st.tuples(st.integers(1, 90), st.booleans()), min_size=1, max_size=8))
    ids = [S] * sum(media) + [token for token, _ in parts]
    labels = [I] * sum(media) + [token if is_target else I for token, is_target in parts]
    return sample(draw(st.integers(0, 99)), ids, labels, media, draw(st.sampled_from([None, None, None, "unreadable"])))


@given(st.lists(st.lists(samples(), max_size=4), min_size=1, max_size=3), st.integers(4, 40))
def test_targets_meet_one_for_one_by_counting(packs: list[list[TrainingSample]], pack_tokens: int) -> None:
    batch = taught(packs, pack_tokens)
    assert batch.teacher is not None
    rows, has_teacher, has_frames = batch.teacher
    (_, here), (_, there) = label_mask(batch.labels), label_mask(rows.labels)
    assert here[has_teacher].tolist() == there.tolist()
    slow = []
    for one in (one for pack in packs for one in pack):
        frames = sum(one.media_lengths)
        fits = len(one.input_ids) + 3 * frames <= pack_tokens
        slow += [fits] * (0 if one.failure else int((one.labels[1:] != I).sum()))
    assert has_teacher.tolist() == slow
    frames = 0 if batch.pixel_values is None else len(batch.pixel_values)
    kept = frames if has_frames is None else int(has_frames.sum())
    assert kept == (0 if rows.media_lengths is None else int(rows.media_lengths.sum()))
    assert has_frames is None or len(has_frames) == frames
    assert torch.equal(rows.input_ids == IMAGE_TOKEN, (rows.input_ids == IMAGE_TOKEN) & (rows.segment_ids > 0))
