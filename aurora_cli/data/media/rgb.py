"""Any image in memory -> RGB of eight bits a channel, upright. An export carries this file's text: it imports no other.

What hides behind transparency is white, as in transformers' image processors and on most pages of the web.
"""

import numpy as np
from PIL import Image, ImageOps

ORIENTATION_TAG = 0x0112
WHITE = (255, 255, 255)


def upright(image: Image.Image) -> Image.Image:
    """As the camera was held. Looks at the tag first: an image without it is not copied."""
    if image.getexif().get(ORIENTATION_TAG, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def as_rgb(image: Image.Image, background: tuple[int, int, int] = WHITE) -> Image.Image:
    """Any mode as 8-bit RGB: transparency over the background, deep greys scaled down rather than clipped."""
    key = image.info.get("transparency")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        levels = np.asarray(image)
        image = Image.fromarray(_eight_bits(levels))
        if isinstance(key, int):
            image.putalpha(Image.fromarray(np.where(levels == key, 0, 255).astype(np.uint8)))
    elif image.mode == "L" and isinstance(key, int) and 0 < key < 16:
        image = image.copy()
        image.info["transparency"] = _eight_bit_key(np.asarray(image), key)
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


def _eight_bit_key(levels: np.ndarray, key: int) -> int:
    """The grey that a PNG of two or four bits hides: Pillow stretches its pixels to eight bits and leaves the key.

    How many bits there were shows in the levels, which are then multiples of 85 or 17.
    """
    for bits, step in ((2, 85), (4, 17)):
        if key < 1 << bits and not (levels % step).any():
            return key * step
    return key
