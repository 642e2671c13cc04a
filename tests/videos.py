"""Videos of every kind, made with PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
"""The matrix in an mp4's track header, by degrees clockwise that a player turns the frames."""


def level(number: int) -> int:
    return 20 + number * 20 % 220


def write_video(path: Path, milliseconds: Sequence[int], **how: Any) -> Path:
    """Frame i is all of `level(i)` but for its left upper quarter, which is red."""
    import av

    size: tuple[int, int] = how.get("size", (64, 48))
    unit: Fraction = how.get("unit", Fraction(1, 1000))
    with av.open(str(path), "w", options=how.get("options", {})) as container:
        stream = container.add_stream(how.get("codec", "libx264"), rate=30)
        stream.width, stream.height = size
        stream.pix_fmt = how.get("pixels", "yuv420p")
        stream.time_base = stream.codec_context.time_base = unit
        stream.codec_context.gop_size = 12
        for number, start in enumerate(milliseconds):
            pixels = np.full((size[1], size[0], 3), level(number), np.uint8)
            pixels[: size[1] // 2, : size[0] // 2] = (255, 0, 0)
            if how.get("noisy"):
                half = pixels[size[1] // 2 :, : size[0] // 2]
                half[:] = np.random.default_rng(number).integers(0, 256, half.shape)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(start / 1000 / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turned(path: Path, degrees: int) -> Path:
    """Writes into the track header how the camera was held."""
    content = path.read_bytes()
    matrix = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 & 0xFFFFFFFF for value in TURNS[degrees])
    rows = b"".join(value.to_bytes(4, "big") for value in (a, b, 0, c, d, 0))
    path.write_bytes(content[:matrix] + rows + content[matrix + 24 :])
    return path
