"""One video of any format -> pixels of some of its frames."""

import tempfile
from pathlib import Path

import numpy as np

from aurora_cli.data.media.images import SHRINK_MARGIN, UnreadableMedia
from aurora_cli.data.media.transforms import Colour, square_frames
from aurora_cli.data.media.video_decoder import EVENLY_IN_TIME, Request, Sampling
from aurora_cli.data.media.video_process import DecoderError, decode_video


def video_pixels(
    source: Path | bytes, name: str, frames: int, size: int, fill: Colour, sampling: Sampling = EVENLY_IN_TIME
) -> np.ndarray:
    """(F, S, S, 3): frames chosen by `sampling`, shrunk while decoding where the video is far larger than wanted.

    Raises:
        UnreadableMedia: naming it and the reason.
    """
    longest = SHRINK_MARGIN * size
    try:
        if isinstance(source, Path):
            decoded = decode_video(Request(str(source), frames, longest, sampling))
        else:  # decord reads bytes too, but crashes on damaged ones far more often than on a damaged file
            with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
                file.write(source)
                file.flush()
                decoded = decode_video(Request(file.name, frames, longest, sampling))
    except DecoderError as error:
        raise UnreadableMedia(f"{name}: not a readable video: {error}") from error
    return square_frames(decoded, size, fill)
