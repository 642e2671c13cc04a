"""One video of any format -> some of its frames, as large as they are decoded."""

import tempfile
from pathlib import Path

import numpy as np

from aurora_cli.data.media.animations import animation_frames
from aurora_cli.data.media.decoders.sampling import EVENLY_IN_TIME, NO_LIMITS, Request, Sampling, Span, VideoLimits
from aurora_cli.data.media.errors import UnreadableMedia
from aurora_cli.data.media.kinds import IMAGE_SUFFIXES
from aurora_cli.data.media.video_process import DecoderError, decode_video


def decode_frames(
    source: Path | bytes,
    name: str,
    frames: int,
    longest: int,
    sampling: Sampling = EVENLY_IN_TIME,
    span: Span | None = None,
    limits: VideoLimits = NO_LIMITS,
) -> np.ndarray:
    """(F, H, W, 3) uint8: frames selected by `sampling`, of a span or of all of the video, whose
    longer side is not far above `longest` pixels.

    Raises:
        UnreadableMedia: naming it and the reason.
    """
    if Path(name).suffix.lower() in IMAGE_SUFFIXES:
        return animation_frames(source, name, frames, longest, sampling, span, limits)
    try:
        if isinstance(source, Path):
            return decode_video(Request(str(source), frames, longest, sampling, span, limits))
        # decord reads bytes too, but crashes on damaged ones far more often than on a damaged file
        with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
            file.write(source)
            file.flush()
            return decode_video(Request(file.name, frames, longest, sampling, span, limits))
    except DecoderError as error:
        raise UnreadableMedia(f"{name}: not a readable video: {error}") from error
