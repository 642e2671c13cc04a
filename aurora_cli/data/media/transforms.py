"""From a decoded image to the vision tower's input: pad to a square with the mean colour, resize, normalise.

What LLaVA's `expand2square` and the CLIP image processor do, to the bit for lossless images. Shapes: F frames,
H height, W width, S side of the square; frames are uint8, channels last, until `normalise`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from aurora_cli.data.media.images import Colour

_BAND_PIXELS = 1 << 22
"""Of padded rows that are there at once."""

_THIN = 16
"""An image that is so many times as high as wide, or as wide as high, is nearly all padding once it is square."""

_WEIGHT = 1 << 22
"""Pillow's weights are whole numbers that add up to about so many (`PRECISION_BITS` of its Resample.c)."""


def padding_colour(mean: Sequence[float]) -> Colour:
    """The mean colour in whole levels, rounded down as the original does.

    >>> padding_colour((0.48145466, 0.4578275, 0.40821073))
    (122, 116, 104)
    """
    red, green, blue = (int(channel * 255) for channel in mean)
    return red, green, blue


def square_image(image: Image.Image, size: int, fill: Colour) -> np.ndarray:
    """Pillow's bicubic on the padded RGB image: (S, S, 3), equal to the original's to the bit.

    The padded image itself is never there whole: a thin one's is its length squared. Pillow resizes along the rows
    first, each by itself, and what is padding alone stays its colour.
    """
    side = max(image.size)
    if is_thin(image) and image.height == side:
        image = _narrowed(image, size, fill)
    elif image.size != (side, side):
        left, top = (side - image.width) // 2, (side - image.height) // 2
        narrow, rows = Image.new("RGB", (size, side), fill), max(1, _BAND_PIXELS // side)
        for begin in range(0, image.height, rows):
            end = min(begin + rows, image.height)
            band = Image.new("RGB", (side, end - begin), fill)
            band.paste(image.crop((0, begin, image.width, end)), (left, 0))
            narrow.paste(band.resize((size, end - begin), Image.Resampling.BICUBIC), (0, top + begin))
        image = narrow
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def is_thin(image: Image.Image) -> bool:
    """Whether its square has far more pixels than it: `square_image` never makes all of that, `square_frames` does."""
    return max(image.size) > _THIN * min(image.size)


def _narrowed(image: Image.Image, size: int, fill: Colour) -> Image.Image:
    """A high, thin image padded to a square and resized along its rows alone, as Pillow does, to the bit.

    Of a column only what lies in the image is looked at: 1 x 65,535 pixels take 0.3 s, and their square takes 18.
    """
    side, width = image.height, image.width
    left, scale = (side - width) // 2, side / size
    reach, colour = max(scale, 1.0), np.array(fill)
    narrow = np.full((side, size, 3), fill, np.uint8)
    levels_HWC = np.asarray(image)
    centers = (np.arange(size) + 0.5) * scale
    begins = np.maximum(0, (centers - 2 * reach + 0.5).astype(int))
    ends = np.minimum(side, (centers + 2 * reach + 0.5).astype(int))
    for column in np.flatnonzero((begins < left + width) & (ends > left)).tolist():
        weights = _bicubic((np.arange(begins[column], ends[column]) - centers[column] + 0.5) / reach)
        weights = np.trunc(weights / weights.sum() * _WEIGHT + np.copysign(0.5, weights))
        first, last = max(begins[column], left), min(ends[column], left + width)
        within = weights[first - begins[column] : last - begins[column]]
        padding = colour * (weights.sum() - within.sum())
        for begin in range(0, side, rows := max(1, _BAND_PIXELS // (last - first))):
            levels_HC = np.einsum("hwc,w->hc", levels_HWC[begin : begin + rows, first - left : last - left], within)
            narrow[begin : begin + rows, column] = ((levels_HC + padding + _WEIGHT // 2) // _WEIGHT).clip(0, 255)
    return Image.fromarray(narrow)


def _bicubic(distances: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -0.5 (IEEE Trans. ASSP 29, 1981)."""
    x = np.abs(distances)
    near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def square_frames(frames_FHWC: np.ndarray, size: int, fill: Colour) -> np.ndarray:
    """The same for frames out of a lossy decoder, five times as fast: (F, S, S, 3).

    torch's bicubic keeps 15 bits of each weight where Pillow keeps 22: of 300 values one differs, by one level of
    256 (two in the worst case): less than two JPEG decoders differ from each other.
    """
    count, height, width, _ = frames_FHWC.shape
    side = max(height, width)
    square = np.empty((count, side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[:, :top] = square[:, top + height :] = fill
    square[:, top : top + height, :left] = square[:, top : top + height, left + width :] = fill
    square[:, top : top + height, left : left + width] = frames_FHWC
    if side == size:
        return square
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(square).permute(0, 3, 1, 2), (size, size), mode="bicubic", antialias=True
    )
    return resized.permute(0, 2, 3, 1).contiguous().numpy()


def normalise(frames_FSSC: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(F, S, S, 3) uint8 levels -> (F, 3, S, S) float32, each channel (level / 255 - mean) / std.

    By numpy, on one thread: this runs in the training process, where torch's second thread would wait for a core that a
    loader process has.
    """
    frames = frames_FSSC.numpy()
    planes = np.empty((len(frames), 3, *frames.shape[1:3]), np.float32)
    for channel in range(3):
        plane = planes[:, channel]
        np.multiply(frames[..., channel], np.float32(1 / (255 * std[channel])), out=plane)
        plane -= np.float32(mean[channel] / std[channel])
    return torch.from_numpy(planes)
