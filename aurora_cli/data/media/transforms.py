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
    if image.size != (side, side):
        left, top = (side - image.width) // 2, (side - image.height) // 2
        narrow, rows = Image.new("RGB", (size, side), fill), max(1, _BAND_PIXELS // side)
        for begin in range(0, image.height, rows):
            end = min(begin + rows, image.height)
            band = Image.new("RGB", (side, end - begin), fill)
            band.paste(image.crop((0, begin, image.width, end)), (left, 0))
            narrow.paste(band.resize((size, end - begin), Image.Resampling.BICUBIC), (0, top + begin))
        image = narrow
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


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
