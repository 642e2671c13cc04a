#!/usr/bin/env bash
# decord2 3.4.0, CPython 3.11 (2026-11-28); videos made with PyAV 18.1.0.
#
# decord returns frames without an error that are not those of the number that was asked for:
#   - an MP4 that was cut without encoding (an edit list hides the frames before the cut): it counts the hidden frames, gives
#     them negative times, and the pixels of a number are those of another one, some twice and out of order;
#   - HEVC with open groups, x265's default: three frames beside the wanted one, in MP4 and MKV alike;
#   - widths of 96 and 144: a frame comes with four channels, which are the three of other pixels.
# H.264, VP8, VP9 and AV1 without an edit list came right in all that was tried.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check decord2==3.4.0 av==18.1.0 numpy==2.4.6
"$folder/env/bin/python" - "$folder" <<'END'
import sys
from fractions import Fraction

import av
import decord
import numpy as np

folder = sys.argv[1]


def bars(number, width, height=96):
    """A frame that holds its number in eight bars."""
    frame = np.full((height, width, 3), 90, np.uint8)
    for bit in range(8):
        frame[:, bit * width // 8 : (bit + 1) * width // 8] = 235 if number >> bit & 1 else 16
    return frame


def number_of(frame):
    width = frame.shape[1]
    return sum(1 << bit for bit in range(8) if frame[:, int((bit + 0.3) * width / 8) : int((bit + 0.7) * width / 8)].mean() > 126)


def write(name, count, codec="libx264", width=128, group=250, options=None, between=0):
    with av.open(f"{folder}/{name}", "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, 96, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = group, between
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(bars(number, width), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return f"{folder}/{name}"


def cut(source, target, begin, length):
    """ffmpeg -ss BEGIN -i SOURCE -t LENGTH -c copy TARGET"""
    with av.open(source) as read, av.open(target, "w", options={"avoid_negative_ts": "disabled"}) as written:
        stream = read.streams.video[0]
        copied = written.add_stream_from_template(stream)
        zero, end = (round(moment / stream.time_base) for moment in (begin, begin + length))
        for packet in read.demux(stream):
            if packet.dts is not None and packet.dts < end:
                packet.pts, packet.dts, packet.stream = packet.pts - zero, packet.dts - zero, copied
                written.mux(packet)
    return target


def played(path):
    with av.open(path) as container:
        return [number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


path = cut(write("long.mp4", 200), f"{folder}/cut.mp4", 6, 2)
shown, reader = played(path), decord.VideoReader(path, num_threads=1)
times = reader.get_frame_timestamp(np.arange(len(reader)))[:, 0]
print(f"edit list: a player shows {len(shown)} frames, decord counts {len(reader)}, the first at {times[0]:.2f} s")
visible = np.flatnonzero(times >= -1e-6)[::10]
got = [number_of(frame) for frame in reader.get_batch(visible.tolist()).asnumpy()]
print("edit list: wanted", shown[::10], "got", got)
assert len(reader) > len(shown), "changed: hidden frames are not counted"
assert got != shown[::10], "changed: right after an edit list"

open_groups = {"x265-params": "log-level=none:keyint=24:min-keyint=24:open-gop=1:b-adapt=0:bframes=4:scenecut=0"}
path = write("open.mp4", 96, "libx265", options=open_groups, group=24, between=4)
reader = decord.VideoReader(path, num_threads=1)
got = [number_of(frame) for frame in reader.get_batch([24, 72]).asnumpy()]
print("HEVC, open groups: wanted [24, 72] got", got)
assert played(path) == list(range(96))
assert got != [24, 72], "changed: right with open groups"

for width in (96, 128, 144):
    channels = decord.VideoReader(write(f"{width}.mp4", 3, width=width), num_threads=1)[0].shape[2]
    print(f"a frame {width} pixels wide has {channels} channels")
    assert channels == (3 if width == 128 else 4), "changed: channels"
END
