import numpy as np
import torch

from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.batches.collator import Batch, TrainingSample, collate
from aurora_cli.models.merge_plan import FrameTokenCounts
from aurora_cli.runs.lines import Rejection

IMAGE_TOKEN = 99
TOKENS = FrameTokenCounts(merged=2, first=4)
I = IGNORE_INDEX  # noqa: E741
S = IMAGE_PLACEHOLDER


def sample(
    number: int, input_ids: list[int], labels: list[int], media_lengths: list[int], **more: object
) -> TrainingSample:
    frames = np.full((sum(media_lengths), 4, 4, 3), number, np.uint8) if media_lengths else None
    ids, targets = np.array(input_ids, np.int32), np.array(labels, np.int32)
    return TrainingSample(number, f"id{number}", ids, targets, media_lengths, frames, **more)  # type: ignore[arg-type]


TEXT = sample(7, [1, 5, 6], [I, 5, 6], [])
IMAGE = sample(8, [1, S, 9], [1, I, 9], [1])
VIDEO = sample(9, [S, S, 3, 4], [I, I, 3, 4], [2])


def put_together(*packs: list[TrainingSample]) -> Batch:
    return collate(packs, image_token_id=IMAGE_TOKEN, token_counts=TOKENS)


def test_one_batch_worked_by_hand() -> None:
    batch = put_together([TEXT, IMAGE], [VIDEO])
    assert batch.input_ids.tolist() == [
        [1, 5, 6, 1, IMAGE_TOKEN, IMAGE_TOKEN, 9, 0],
        [IMAGE_TOKEN] * 6 + [3, 4],
    ]
    assert batch.labels.tolist() == [[I, 5, 6, I, I, I, 9, I], [I] * 6 + [3, 4]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1, 2, 3, 0], list(range(8))]
    assert batch.segment_ids.tolist() == [[1, 1, 1, 2, 2, 2, 2, 0], [1] * 8]
    assert batch.media_lengths is not None
    assert batch.media_lengths.tolist() == [1, 2]
    assert batch.pixel_values is not None
    assert batch.pixel_values[:, 0, 0, 0].tolist() == [8, 9, 9]
    assert batch.sample_ids == [7, 8, 9]
    assert (batch.target_tokens, batch.text_tokens, batch.visual_tokens, batch.positions) == (5, 7, 8, 16)
    assert batch.rejected == []
    assert {tensor.dtype for tensor in batch[:4]} == {torch.int64}


def test_packed_and_padded_rows_hold_the_same_samples_and_labels() -> None:
    packed, padded = put_together([TEXT, IMAGE, VIDEO]), put_together([TEXT], [IMAGE], [VIDEO])
    for field in ("input_ids", "labels", "position_ids"):
        rows = getattr(padded, field)[padded.segment_ids > 0]
        assert getattr(packed, field)[packed.segment_ids > 0].tolist() == rows.tolist()
    for field in ("sample_ids", "target_tokens", "text_tokens", "visual_tokens"):
        assert getattr(packed, field) == getattr(padded, field)


def test_a_sample_whose_media_failed_teaches_nothing_and_changes_nothing_else() -> None:
    broken = IMAGE._replace(failure="not a readable image", media="a.jpg")
    good, bad = put_together([TEXT, IMAGE, VIDEO]), put_together([TEXT, broken, VIDEO])
    assert bad.input_ids.tolist() == good.input_ids.tolist()
    assert bad.labels[bad.segment_ids == 2].tolist() == [I] * 4
    assert bad.labels[bad.segment_ids != 2].tolist() == good.labels[good.segment_ids != 2].tolist()
    assert bad.target_tokens == good.target_tokens - 1
    assert bad.rejected == [Rejection(8, "id8", "a.jpg", "not a readable image")]


def test_a_micro_batch_of_empty_packs_is_padding_alone() -> None:
    batch = put_together([], [])
    assert batch.input_ids.shape == (2, 2)
    assert (batch.segment_ids == 0).all()
    assert (batch.labels == IGNORE_INDEX).all()
    assert batch.pixel_values is None
    assert batch.media_lengths is None
    assert (batch.target_tokens, batch.text_tokens, batch.visual_tokens, batch.sample_ids) == (0, 0, 0, [])


def test_the_stored_arrays_are_not_written_to() -> None:
    for array in (TEXT.input_ids, TEXT.labels):
        array.flags.writeable = False
    put_together([TEXT])
