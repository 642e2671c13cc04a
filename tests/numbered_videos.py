"""Videos whose frames carry their numbers, of every codec and container that PyAV writes, and what a player shows.

A frame's upper quarter holds its number in eight bars, the rest three colours by which turns and mirrors show.
"""

import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

BITS = 8
LEFT, RIGHT, BOTTOM = (60, 150, 70), (90, 60, 170), (170, 110, 50)

MATRICES = {
    "none": (1, 0, 0, 1),
    "90": (0, 1, -1, 0),
    "180": (-1, 0, 0, -1),
    "270": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "turned and mirrored": (0, -1, -1, 0),
}
"""a, b, c, d of a track's matrix: a stored pixel at (x, y) is shown at (a x + c y, b x + d y)."""

OPEN_GOPS = {"x265-params": "log-level=none:pools=1:keyint={0}:min-keyint={0}:open-gop=1:b-adapt=0:scenecut=0"}
CLOSED_GOPS = {"x265-params": "log-level=none:pools=1:keyint={0}:min-keyint={0}:open-gop=0:scenecut=0"}


class Kind(NamedTuple):
    """How a video is made."""

    codec: str = "libx264"
    container: str = "mp4"
    group: int = 12
    """Frames from a key frame to the next."""
    between: int = 2
    """Frames with later references (B) in a row."""
    rate: Fraction = Fraction(25)
    is_varying: bool = False
    """Every fifth frame lasts three times as long."""
    late: Fraction = Fraction(0)
    """Seconds before the first frame."""
    cut: tuple[float, float] | None = None
    """Begin and length, in seconds, of a part that is copied without encoding, as `ffmpeg -ss -t -c copy` does."""
    matrix: str = "none"
    size: tuple[int, int] = (128, 96)
    pixels: str = "yuv420p"
    aspect: Fraction = Fraction(1)
    is_open: bool = False
    """Whether frames may lean on the group before (HEVC)."""
    transfer: int = 2
    """16: PQ, 18: HLG, 2: not said."""
    count: int = 60

    def times(self) -> list[Fraction]:
        """When each frame is shown, from the first."""
        lengths = [(3 if self.is_varying and number % 5 == 4 else 1) / self.rate for number in range(self.count)]
        return [sum(lengths[:number], Fraction(0)) for number in range(self.count)]


def drawn(number: int, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :], image[height * 3 // 4 :] = LEFT, RIGHT, BOTTOM
    for bit in range(BITS):
        image[: height // 4, bit * width // BITS : (bit + 1) * width // BITS] = 235 if number >> bit & 1 else 16
    return image


def number_of(image: np.ndarray, matrix: str = "none") -> int:
    """Of a frame as a player shows it."""
    image = placed(image, {"90": "270", "270": "90"}.get(matrix, matrix))
    height, width, _ = image.shape
    bars = [image[height // 12 : height // 6, int((bit + 0.3) * width / BITS) : int((bit + 0.7) * width / BITS)]
            for bit in range(BITS)]  # fmt: skip
    return sum(1 << bit for bit, bar in enumerate(bars) if bar.mean() > 126)


def placed(image: np.ndarray, matrix: str) -> np.ndarray:
    """A stored frame as a player shows it, pixel by pixel."""
    a, b, c, d = MATRICES[matrix]
    height, width, _ = image.shape
    rows, columns = np.mgrid[:height, :width]
    across, down = a * columns + c * rows, b * columns + d * rows
    shown = np.empty((np.ptp(down) + 1, np.ptp(across) + 1, 3), np.uint8)
    shown[down - down.min(), across - across.min()] = image
    return shown


def write_numbered(folder: Path, name: str, kind: Kind) -> Path:
    """A video of this kind, named `name` and by its container."""
    path = folder / f"{name}.{kind.container}"
    whole = folder / f"{name}-whole.{kind.container}" if kind.cut else path
    _encode(whole, kind)
    if kind.cut:
        _copy(whole, path, *kind.cut)
    if kind.matrix != "none":
        set_matrix(path, kind.matrix, kind.size)
    return path


@contextmanager
def _scheduled_as_before() -> Iterator[None]:
    """As root, SVT-AV1 gives the thread that calls it a real-time policy, for good, and so to all processes from it: a
    browser of theirs that spins leaves nothing to anybody else."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, parameters)


@_scheduled_as_before()
def _encode(path: Path, kind: Kind, first: int = 0) -> None:
    import av

    options = {}
    if kind.codec == "libx265":
        options = {key: text.format(kind.group) for key, text in (OPEN_GOPS if kind.is_open else CLOSED_GOPS).items()}
    elif kind.codec == "libsvtav1":
        options = {"preset": "12", "svtav1-params": f"keyint={kind.group}:lp=1"}
    elif kind.codec.startswith("libvpx"):
        options = {"deadline": "realtime", "cpu-used": "8"}
    elif kind.codec == "libx264":
        options = {"preset": "veryfast"}
    unit = 1 / kind.rate
    with av.open(str(path), "w") as container:
        stream = container.add_stream(kind.codec, rate=kind.rate, options=options)
        stream.width, stream.height = kind.size
        stream.pix_fmt = kind.pixels
        stream.time_base = stream.codec_context.time_base = unit
        stream.bit_rate = 3_000_000
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = kind.group, kind.between
        stream.codec_context.thread_count = 1
        if kind.aspect != 1:
            stream.codec_context.sample_aspect_ratio = kind.aspect
        if kind.transfer != 2:
            stream.codec_context.color_trc = kind.transfer
        if kind.codec == "mjpeg":
            stream.codec_context.color_range = 2
        for number, time in enumerate(kind.times()):
            frame = av.VideoFrame.from_ndarray(drawn(first + number, kind.size), format="rgb24")
            frame.pts, frame.time_base = round((time + kind.late) / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _copy(source: Path, target: Path, begin_s: float, length_s: float) -> None:
    """From the key frame before; what lies before the cut has negative times, which MP4 hides by an edit list."""
    import av

    with av.open(str(source)) as read, av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as written:
        stream = read.streams.video[0]
        copied = written.add_stream_from_template(stream)
        begin, end = (round(moment / stream.time_base) for moment in (begin_s, begin_s + length_s))
        read.seek(begin, stream=stream)
        for packet in read.demux(stream):
            if packet.dts is None or packet.pts is None or packet.dts >= end:
                continue
            packet.pts -= begin
            packet.dts -= begin
            packet.stream = copied
            written.mux(packet)


def set_matrix(path: Path, matrix: str, size: tuple[int, int]) -> None:
    """Into the track's header of an MP4 or MOV, as players and cameras write it."""
    a, b, c, d = MATRICES[matrix]
    corners = [(a * x + c * y, b * x + d * y) for x in (0, size[0]) for y in (0, size[1])]
    right, down = (-min(corner[axis] for corner in corners) << 16 for axis in (0, 1))
    content = bytearray(path.read_bytes())
    position = content.index(b"tkhd") + 44
    numbers = (a << 16, b << 16, 0, c << 16, d << 16, 0, right, down, 1 << 30)
    content[position : position + 36] = struct.pack(">9i", *numbers)
    path.write_bytes(content)


class Shown(NamedTuple):
    numbers: list[int]
    images: list[np.ndarray]
    last: Fraction
    """Seconds that the file gives its last frame; zero: it does not say."""


def shown_by_a_player(path: Path, kind: Kind) -> Shown:
    """Every frame, in order: PyAV from the beginning, edit lists applied by libav, the matrix by hand."""
    import av

    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        images = [placed(frame.to_ndarray(format="rgb24"), kind.matrix) for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        lengths = {packet.pts: (packet.duration or 0) * packet.time_base
                   for packet in container.demux(video=0) if packet.pts is not None}  # fmt: skip
    return Shown([number_of(image, kind.matrix) for image in images], images, lengths[max(lengths)])


def expected_numbers(shown: Sequence[int], kind: Kind, frames: int, last: Fraction) -> list[set[int]]:
    """Frames at the middles of equal segments of time; two where a moment lies where one frame follows another."""
    times = kind.times()
    if not kind.is_varying and shown[-1] - shown[0] == len(shown) - 1:  # a cut by copying can leave holes at its end
        return [{shown[(2 * index + 1) * len(shown) // (2 * frames)]} for index in range(frames)]
    begin, usual = times[shown[0]], sorted(late - early for early, late in itertools.pairwise(times))
    length = times[shown[-1]] + max(usual[len(usual) // 2], last) - begin
    wanted = []
    for index in range(frames):
        moment = begin + length * Fraction(2 * index + 1, 2 * frames)
        near = (moment - Fraction(1, 500), moment + Fraction(1, 500))
        wanted.append({max(number for number in shown if times[number] <= max(at, begin)) for at in near})
    return wanted


def write_two_tracks(path: Path, kinds: Sequence[Kind], default: int, first: Sequence[int]) -> None:
    """Tracks of moving images of which one is the default; each begins with a number of its own."""
    import av
    from av.stream import Disposition

    sources = []
    for index, kind in enumerate(kinds):
        sources.append(path.with_name(f"track-{index}.{kind.container}"))
        _encode(sources[-1], kind, first[index])
    with av.open(str(path), "w") as written:
        opened = [av.open(str(source)) for source in sources]
        tracks = [written.add_stream_from_template(source.streams.video[0]) for source in opened]
        for index, track in enumerate(tracks):
            track.disposition = Disposition.default if index == default else Disposition(0)
        packets = [(packet.dts * packet.time_base, index, packet) for index, source in enumerate(opened)
                   for packet in source.demux(video=0) if packet.dts is not None]  # fmt: skip
        for _, index, packet in sorted(packets, key=lambda found: found[:2]):
            packet.stream = tracks[index]
            written.mux(packet)
        for source in opened:
            source.close()


def write_changing_size(path: Path, sizes: Sequence[tuple[int, int]], codec: str = "libvpx-vp9") -> None:
    """24 frames of each size, one after another in one track."""
    import av

    parts = [path.with_name(f"part-{index}.webm") for index in range(len(sizes))]
    for index, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        _encode(part, Kind(codec=codec, container="webm", between=0, size=size, count=24), 24 * index)
    with av.open(str(path), "w") as written:
        track = None
        for index, part in enumerate(parts):
            with av.open(str(part)) as source:
                track = track or written.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.pts is None or packet.dts is None:
                        continue
                    packet.pts += 960 * index
                    packet.dts += 960 * index
                    packet.stream = track
                    written.mux(packet)


def write_slides(path: Path, seconds: Sequence[int]) -> None:
    """A frame a number of `seconds`, that is how long each is shown."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 1, 0
        stream.time_base = Fraction(1, 25)
        packets = []
        for number in range(len(seconds)):
            frame = av.VideoFrame.from_ndarray(drawn(number, (128, 96)), format="rgb24")
            frame.pts, frame.time_base = 25 * sum(seconds[:number]), Fraction(1, 25)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for packet, length in zip(packets, seconds, strict=True):
            packet.duration = round(length / packet.time_base)
            container.mux(packet)


def crop_matroska(path: Path) -> None:
    """Crop 16 pixels from each side of a 128x96 video, as `mkvmerge --cropping` does.

    Written in the bytes of a checksum, of two defaults and of a void, so that nothing else moves.
    """
    content = bytearray(path.read_bytes())
    tracks = content.index(b"\x16\x54\xae\x6b\x40") + 6  # the two bytes of its length are behind the kind's four
    length = int.from_bytes(content[tracks - 2 : tracks]) & 0x3FFF
    entry = content[tracks + 6 : tracks + length]  # behind a checksum
    old = bytes.fromhex("e08a b08180 ba8160 54b28104 55ee8100 ec01000000000000020000")
    new = bytes.fromhex("e09f b08180 ba8160 54cc8110 54dd8110 54bb8110 54aa820010 54b08160 54ba8140")
    assert entry.startswith(b"\xae\x01" + (length - 15).to_bytes(7))
    assert old in entry
    entry = b"\xae\x01" + (length - 9).to_bytes(7) + entry[9:].replace(old, new)
    content[tracks : tracks + length] = entry
    path.write_bytes(content)


def add_clean_aperture(path: Path, size: tuple[int, int], margins: tuple[int, int, int, int]) -> None:
    """Crop left, top, right, bottom of a MOV whose index lies at its end, by a `clap` in the sample entry."""
    content = bytearray(path.read_bytes())
    left, top, right, bottom = margins
    across, down = size[0] - left - right, size[1] - top - bottom
    clap = struct.pack(">I4s8i", 40, b"clap", across, 1, down, 1, left - right, 2, top - bottom, 2)
    position = content.index(b"avcC") - 4
    assert content.index(b"mdat") < position
    for kind in (b"avc1", b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        box = content.rindex(kind, 0, position) - 4
        content[box : box + 4] = (int.from_bytes(content[box : box + 4]) + len(clap)).to_bytes(4)
    content[position:position] = clap
    path.write_bytes(content)
