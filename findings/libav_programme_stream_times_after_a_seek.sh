#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8 inside), CPython 3.11 (2026-11-28).
#
# A programme stream (.mpg, .vob) gives only some frames a time; libav counts on from there. After a seek it begins to count
# elsewhere: the same frames come with other times than from the beginning, some frames later or earlier, all of them
# plausible. Who seeks to a time and takes the frame with that time gets another one. MP4 and MKV name every frame's time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check av==18.1.0 numpy==2.4.6
"$folder/env/bin/python" - "$folder" <<'END'
import sys
from fractions import Fraction

import av
import numpy as np

folder = sys.argv[1]


def bars(number):
    frame = np.full((96, 128, 3), 90, np.uint8)
    for bit in range(8):
        frame[:, bit * 16 : (bit + 1) * 16] = 235 if number >> bit & 1 else 16
    return frame


def number_of(frame):
    pixels = frame.to_ndarray(format="rgb24")
    return sum(1 << bit for bit in range(8) if pixels[:, bit * 16 + 5 : bit * 16 + 11].mean() > 126)


def write(name):
    with av.open(f"{folder}/{name}", "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 128, 96, "yuv420p", 900_000
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 12, 2
        for number in range(96):
            frame = av.VideoFrame.from_ndarray(bars(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return f"{folder}/{name}"


def astray(path):
    """By how many frames the time of a frame after a seek is off, at most."""
    with av.open(path) as container:
        times = {number_of(frame): frame.time for frame in container.decode(video=0)}
    most = 0
    for target in range(6, 96, 6):
        with av.open(path) as container:
            stream = container.streams.video[0]
            container.seek(round(times[target] / stream.time_base), stream=stream)
            for frame, _ in zip(container.decode(stream), range(12)):
                most = max(most, abs(round((frame.time - times[number_of(frame)]) * 25)))
    return most


found = {name: astray(write(name)) for name in ("a.mpg", "a.mkv")}
for name, most in found.items():
    print(f"{name}: after a seek a frame's time is off by up to {most} frames")
assert found["a.mpg"] > 0, "changed: times of a programme stream hold after a seek"
assert found["a.mkv"] == 0, "changed: times of Matroska"
END
