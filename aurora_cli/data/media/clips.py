"""One clip of any format -> pixels of some of its frames."""

import tempfile
from pathlib import Path

import numpy as np

from aurora_cli.data.media.clip_decoder import EVENLY_IN_TIME, Request, Sampling
from aurora_cli.data.media.clip_process import DecoderError, decode_clip
from aurora_cli.data.media.pictures import SHRINK_MARGIN, UnreadableMedia
from aurora_cli.data.media.transforms import Colour, square_frames


def clip_pixels(
    source: Path | bytes, name: str, frames: int, size: int, fill: Colour, sampling: Sampling = EVENLY_IN_TIME
) -> np.ndarray:
    """(F, S, S, 3): frames chosen by `sampling`, shrunk while decoding where the clip is far larger than wanted.

    Raises:
        UnreadableMedia: naming it and the reason.
    """
    longest = SHRINK_MARGIN * size
    try:
        if isinstance(source, Path):
            decoded = decode_clip(Request(str(source), frames, longest, sampling))
        else:  # decord reads bytes too, but crashes on damaged ones far more often than on a damaged file
            with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
                file.write(source)
                file.flush()
                decoded = decode_clip(Request(file.name, frames, longest, sampling))
    except DecoderError as error:
        raise UnreadableMedia(f"{name}: not a readable clip: {error}") from error
    return square_frames(decoded, size, fill)
