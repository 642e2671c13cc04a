"""Images and videos are told apart in a prompt, and laid out as captioning does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.errors import UsageError
from aurora_cli.serving.vllm.prompt import Mark, find_marks, laid_out

IMAGE_ID, SPACE = 9, 7


@given(st.lists(st.sampled_from(["image", "video"]), max_size=6), st.integers(1, 5))
def test_every_order_of_images_and_videos_is_found_as_a_template_writes_it(kinds: list[str], frames: int) -> None:
    ids, expected = [1], []
    for kind in kinds:
        mark = [IMAGE_ID] * (2 if kind == "video" else 1)
        expected.append(Mark(kind, len(ids), len(ids) + len(mark)))
        ids += [*mark, SPACE]
    images, videos = kinds.count("image"), kinds.count("video")
    assert find_marks(ids, IMAGE_ID, [SPACE], images=images, videos=videos, frames=frames) == expected


@pytest.mark.parametrize("ids", [[5, 9, 6, 9, 5], [9, 9, 6, 9, 9], [9, 7, 9, 7, 9, 6, 9, 7, 9, 7, 9]])
def test_two_videos_may_be_written_by_hand_in_three_ways(ids: list[int]) -> None:
    marks = find_marks(ids, IMAGE_ID, [SPACE], images=0, videos=2, frames=3)
    assert [mark.kind for mark in marks] == ["video", "video"]
    assert ids.index(6) in range(marks[0].end, marks[1].start)


def test_a_video_of_one_frame_is_one_mark() -> None:
    assert find_marks([1, 9, 2], IMAGE_ID, [SPACE], images=0, videos=1, frames=1) == [Mark("video", 1, 2)]


@pytest.mark.parametrize(
    ("ids", "images", "videos"),
    [([1, 2], 1, 0), ([9, 7, 9], 1, 0), ([9, 7, 9, 7, 9, 7, 9], 1, 1), ([9, 7, 9, 5, 9], 0, 1), ([9], 0, 0)],
    ids=["none", "one too many", "frames beside an image", "frames with words between", "a mark and no medium"],
)
def test_marks_that_do_not_fit_the_media_are_refused(ids: list[int], images: int, videos: int) -> None:
    with pytest.raises(UsageError, match=f"has {ids.count(9)} <image> for {images} images and {videos} videos of 3"):
        find_marks(ids, IMAGE_ID, [SPACE], images=images, videos=videos, frames=3)


def test_two_images_of_a_tokenizer_without_spaces_are_two_images() -> None:
    marks = find_marks([1, 9, 9, 2], IMAGE_ID, [], images=2, videos=0, frames=3)
    assert [mark.kind for mark in marks] == ["image", "image"]


def test_frames_stand_apart_as_in_training() -> None:
    assert laid_out([2, 1, 1], IMAGE_ID, [SPACE, 8]) == [9, 9, 7, 8, 9, 7, 8, 9]
    assert laid_out([3], IMAGE_ID, [SPACE]) == [9, 9, 9]
