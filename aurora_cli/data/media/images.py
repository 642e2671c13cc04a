"""One image of any format -> an RGB image of eight bits a channel, upright."""

import io
import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from aurora_cli.data.media.errors import UnreadableMedia
from aurora_cli.data.media.kinds import HEIF_SUFFIXES
from aurora_cli.data.media.rgb import as_rgb, upright

Colour = tuple[int, int, int]

SHRINK_MARGIN = 2
"""Decoders that can shrink stop at this multiple of the wanted side; bicubic does the rest, so nothing aliases."""

LOSSY_FORMATS = frozenset({"JPEG", "MPO"})

GREY_STEPS = {"L;2": 85, "L;4": 17}
"""From a level of a PNG with so many bits to one of eight."""


LONGEST_SIDE = 65_535
"""Of an image that is read, as JPEG has it. Its square has 4.3 thousand million pixels, which take seconds."""


class DecodedImage(NamedTuple):
    rgb: Image.Image
    is_lossy: bool


class _TooLong(Exception):
    """An image whose longer side is above the limit."""


def decode_image(source: Path | bytes, name: str, *, size: int | None = None) -> DecodedImage:
    """All of an image, or with `size` as much of it as a square of that side needs.

    Raises:
        UnreadableMedia: naming it and the reason.
    """
    if Path(name).suffix.lower() in HEIF_SUFFIXES:
        _register_heif(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what it cannot decode it raises
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                if max(image.size) > LONGEST_SIDE:
                    raise _TooLong(f"is {image.width:,} x {image.height:,} pixels; a side has at most {LONGEST_SIDE:,}")
                is_lossy = image.format in LOSSY_FORMATS
                if size is not None:
                    _shrink_while_decoding(image, size)
                _eight_bit_key(image)
                image.load()
                return DecodedImage(as_rgb(upright(image)), is_lossy)
    except MemoryError:
        raise
    except _TooLong as error:
        raise UnreadableMedia(f"{name}: {error}") from error
    except UnidentifiedImageError as error:  # its own message is the address of a buffer
        raise UnreadableMedia(f"{name}: not a readable image: its format is not known") from error
    except Exception as error:  # Pillow's decoders raise anything from OSError to struct.error on damaged files
        raise UnreadableMedia(f"{name}: not a readable image: {error or type(error).__name__}") from error


def _shrink_while_decoding(image: Image.Image, size: int) -> None:
    """Let the JPEG decoder shrink by 2, 4 or 8, as long as `SHRINK_MARGIN` times the wanted side remains."""
    longest = max(image.size)
    if longest >= 2 * SHRINK_MARGIN * size:
        share = SHRINK_MARGIN * size / longest
        image.draft(None, (max(1, round(image.width * share)), max(1, round(image.height * share))))


def _register_heif(name: str) -> None:
    """Teach Pillow HEIC.

    Raises:
        UnreadableMedia: what does it is not installed.
    """
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        reader = "HEIC is read by pillow-heif, which is not installed: pip install 'aurora-cli[heif]'"
        raise UnreadableMedia(f"{name}: {reader}") from error
    register_heif_opener()


def _eight_bit_key(image: Image.Image) -> None:
    """Pillow brings a PNG's pixels to eight bits and leaves the level that its transparency key hides as it is."""
    key = image.info.get("transparency")
    tile = getattr(image, "tile", None)
    depth = str(tile[0].args) if image.format == "PNG" and tile else ""
    if isinstance(key, int) and depth in GREY_STEPS:
        image.info["transparency"] = key * GREY_STEPS[depth]
    elif isinstance(key, tuple) and depth == "RGB;16B":
        image.info["transparency"] = tuple(level >> 8 for level in key)
