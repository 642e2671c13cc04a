"""Where images and videos stand in a prompt, and what becomes of their marks. No torch, no vLLM.

An image is one `<image>`. A video is two of them with nothing between, as an export's chat template writes it: no two
images stand like that, for it writes a space between them. A prompt that is written by hand may have one `<image>` a
video, or one a frame with the spaces of training, as long as it has no images beside.
"""

from collections.abc import Sequence
from typing import NamedTuple

from aurora_cli.constants import IMAGE
from aurora_cli.data.media.kinds import MediaKind
from aurora_cli.errors import UsageError


class Mark(NamedTuple):
    """Where a medium stands in a prompt's ids."""

    kind: MediaKind
    start: int
    end: int


def find_marks(
    ids: Sequence[int], image_id: int, between: Sequence[int], *, images: int, videos: int, frames: int
) -> list[Mark]:
    """The marks of so many images and videos, in their order. `between`: what stands between two frames.

    >>> find_marks([5, 9, 7, 9, 9, 6], 9, [7], images=1, videos=1, frames=3)
    [Mark(kind='image', start=1, end=2), Mark(kind='video', start=3, end=5)]
    >>> find_marks([5, 9, 7, 9, 7, 9, 6], 9, [7], images=0, videos=1, frames=3)
    [Mark(kind='video', start=1, end=6)]

    Raises:
        UsageError: there are more or fewer marks.
    """
    at = [index for index, token in enumerate(ids) if token == image_id]
    if videos == 0 and len(at) == images:
        return [Mark("image", index, index + 1) for index in at]
    paired = _paired(at)
    if [mark.kind for mark in paired].count("video") == videos and len(paired) == images + videos:
        return paired
    if images == 0 and len(at) == videos:
        return [Mark("video", index, index + 1) for index in at]
    if images == 0 and len(at) == videos * frames:
        whole = [Mark("video", at[first], at[first + frames - 1] + 1) for first in range(0, len(at), frames)]
        written = laid_out([1] * frames, image_id, between)
        if all([*ids[mark.start : mark.end]] == written for mark in whole):
            return whole
    raise UsageError(
        f"the prompt has {len(at)} {IMAGE} for {images} images and {videos} videos of {frames} frames; expected is one "
        f"an image, and {IMAGE}{IMAGE} a video, as the chat template of an export writes them"
    )


def _paired(at: Sequence[int]) -> list[Mark]:
    marks: list[Mark] = []
    index = 0
    while index < len(at):
        is_video = index + 1 < len(at) and at[index + 1] == at[index] + 1
        marks.append(Mark("video" if is_video else "image", at[index], at[index] + (2 if is_video else 1)))
        index += 2 if is_video else 1
    return marks


def laid_out(tokens: Sequence[int], image_id: int, between: Sequence[int]) -> list[int]:
    """The ids of a medium whose frames have so many visual tokens, as `aurora caption` lays them out.

    >>> laid_out([3, 1], 9, [7])
    [9, 9, 9, 7, 9]
    """
    ids: list[int] = []
    for number, count in enumerate(tokens):
        ids += [*(between if number else ()), *[image_id] * count]
    return ids
