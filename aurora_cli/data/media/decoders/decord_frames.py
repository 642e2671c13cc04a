"""Frames by decord, the fast way, where it is believed. Shapes: F frames, H, W their sides."""

import numpy as np

from aurora_cli.data.media.decoders.header import Header
from aurora_cli.data.media.decoders.sampling import Damaged, Request, selected_frames

NARROW = 256
"""Rows of fewer pixels can be padded to so many bytes that decord takes them for four a pixel."""


class NotBelieved(Exception):
    """A video that another decoder must read."""


def decord_frames(request: Request, header: Header) -> np.ndarray:
    """(F, H, W, 3) uint8.

    Raises:
        NotBelieved: its times are not those of a video that begins at zero, or it misreads the rows of that width.
        Damaged: it has no frames, or more than are taken.
        RuntimeError, decord.DECORDError: unrelated classes, both mean "damaged".
    """
    import decord

    if not header.is_ordinary:
        raise NotBelieved
    width, height, _ = header.scaled(request.longest)
    if (width, height) == (header.width, header.height):
        reader = decord.VideoReader(request.path, num_threads=1)
    else:
        if header.turn.quarters % 2:
            width, height = height, width
        reader = decord.VideoReader(request.path, num_threads=1, width=width, height=height)
    if len(reader) == 0:
        raise Damaged("it has no frames")
    request.limits.check(header.width, header.height, len(reader))
    times = reader.get_frame_timestamp(np.arange(len(reader)))
    if not _are_in_order(times[:, 0]):
        raise NotBelieved
    selected = selected_frames(times[:, 0], request.frames, request.sampling, request.span, times[-1, 1])
    distinct, positions = np.unique(selected, return_inverse=True)
    if width < NARROW and reader[0].shape[2] != 3:
        raise NotBelieved
    images = reader.get_batch(distinct.tolist()).asnumpy()
    if header.turn.mirrored:  # decord turns by the matrix's angle, and knows no mirror
        images = images[:, :, ::-1] if header.turn.quarters % 2 else images[:, ::-1]
    return images[positions]


def _are_in_order(starts: np.ndarray) -> bool:
    """Finite, from zero, each later than the one before. Below one frame a second decord makes up times of 10^15 s."""
    return abs(starts[0]) < 1e-3 and bool((np.diff(starts) > 0).all()) and bool(starts[-1] < 1e9)
