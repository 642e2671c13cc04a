"""One image of any format -> an RGB image of eight bits a channel, upright."""

import io
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from aurora_cli.data.media.errors import UnreadableMedia

Colour = tuple[int, int, int]

SHRINK_MARGIN = 2
"""Decoders that can shrink stop at this multiple of the wanted side; bicubic does the rest, so nothing aliases."""

LOSSY_FORMATS = frozenset({"JPEG", "MPO"})

ORIENTATION_TAG = 0x0112
_BLACK: Colour = (0, 0, 0)


class DecodedImage(NamedTuple):
    rgb: Image.Image
    is_lossy: bool


def decode_image(
    source: Path | bytes, name: str, background: Colour = _BLACK, *, size: int | None = None
) -> DecodedImage:
    """All of an image, or with `size` as much of it as a square of that side needs.

    Raises:
        UnreadableMedia: naming it and the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what it cannot decode it raises
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                is_lossy = image.format in LOSSY_FORMATS
                if size is not None:
                    _shrink_while_decoding(image, size)
                image.load()
                return DecodedImage(as_rgb(_upright(image), background), is_lossy)
    except MemoryError:
        raise
    except UnidentifiedImageError as error:  # its own message is the address of a buffer
        raise UnreadableMedia(f"{name}: not a readable image: its format is not known") from error
    except Exception as error:  # Pillow's decoders raise anything from OSError to struct.error on damaged files
        raise UnreadableMedia(f"{name}: not a readable image: {error or type(error).__name__}") from error


def as_rgb(image: Image.Image, background: Colour) -> Image.Image:
    """Any mode as 8-bit RGB: transparency over the background, deep greys scaled down rather than clipped."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(canvas, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(levels: np.ndarray) -> np.ndarray:
    """Greys of 16 or 32 bits, or floats of 0..1, as 0..255."""
    if levels.dtype == np.uint16:
        top = 65535.0
    elif np.issubdtype(levels.dtype, np.floating) and levels.max(initial=0) <= 1.0:
        top = 1.0
    else:
        top = 255.0 if levels.max(initial=0) <= 255 else 65535.0
    return (levels.astype(np.float64) * (255.0 / top)).round().clip(0, 255).astype(np.uint8)


def _shrink_while_decoding(image: Image.Image, size: int) -> None:
    """Let the JPEG decoder shrink by 2, 4 or 8, as long as `SHRINK_MARGIN` times the wanted side remains."""
    longest = max(image.size)
    if longest >= 2 * SHRINK_MARGIN * size:
        share = SHRINK_MARGIN * size / longest
        image.draft(None, (max(1, round(image.width * share)), max(1, round(image.height * share))))


def _upright(image: Image.Image) -> Image.Image:
    """As the camera was held. Looks at the tag first: an image without it is not copied."""
    if image.getexif().get(ORIENTATION_TAG, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)
