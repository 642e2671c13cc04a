"""Is a medium there, and can it be decoded? With the decoders that training uses, but without torch.

An image is decoded to its last pixel; of a video some frames over its whole length; of a folder of frames each.
"""

import io
import tempfile
import warnings
from pathlib import Path

from aurora_cli.data.media.kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.media.video_decoder import Request
from aurora_cli.data.media.video_process import DecoderError, decode_video
from aurora_cli.errors import DataError

_VIDEO_FRAMES = 8
_VIDEO_SIDE = 224


def is_there(root: MediaRoot, path: str) -> bool:
    """Whether a record's path leads to an image, a video, or a folder of frames."""
    return root.exists(path) or bool(root.files_in(path))


def complaint(root: MediaRoot, path: str) -> str | None:
    """Why a medium that is there cannot be decoded; none: it can."""
    try:
        if not root.exists(path) and (files := root.files_in(path)) is not None:
            frames = [f"{path}/{name}" for name in files if Path(name).suffix.lower() in IMAGE_SUFFIXES]
            return next((said for frame in frames if (said := complaint(root, frame))), None)
        if Path(path).suffix.lower() in VIDEO_SUFFIXES:
            return _video_complaint(root, path)
        return _image_complaint(root.read(path))
    except DataError as error:
        return error.message


def _image_complaint(content: bytes) -> str | None:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata; what cannot be decoded is raised
            with Image.open(io.BytesIO(content)) as image:
                image.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise anything from OSError to struct.error on damaged files
        return f"not a readable image: {error or type(error).__name__}"
    return None


def _video_complaint(root: MediaRoot, path: str) -> str | None:
    try:
        if (file := root.local_path(path)) is not None:
            decode_video(Request(str(file), _VIDEO_FRAMES, _VIDEO_SIDE))
            return None
        with tempfile.NamedTemporaryFile(suffix=Path(path).suffix) as copy:
            copy.write(root.read(path))
            copy.flush()
            decode_video(Request(copy.name, _VIDEO_FRAMES, _VIDEO_SIDE))
    except DecoderError as error:
        return f"not a readable video: {error}"
    return None
