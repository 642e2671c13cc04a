"""A sample of the media that an import named, decoded: what they are like, and which cannot be read."""

import heapq
from pathlib import Path
from statistics import median_low
from typing import NamedTuple
from zlib import crc32

from aurora_cli.console import Reporter
from aurora_cli.data.annotations.records import Span
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.media.check import complaint
from aurora_cli.data.media.kinds import IMAGE_SUFFIXES
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.io.data_uri import is_data_uri
from aurora_cli.pipeline.import_data.result import MediaSummary


class Look(NamedTuple):
    """What the head of a medium says."""

    width: int
    height: int
    seconds: float | None = None
    frame_rate: float | None = None

    @property
    def size(self) -> str:
        return f"{self.width} x {self.height}"


class MediaSample:
    """Some of all media, those with the smallest hashes: the same in every run, and spread over all sources."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[int, str, Span | None]] = []
        self._names: set[str] = set()

    def add(self, paths: list[str], row: Item | Refused) -> None:
        """Take the media of a record into account."""
        for path in paths:
            number = -crc32(path.encode("utf-8", "surrogatepass"))
            if path in self._names or (len(self._heap) >= self._most and number < self._heap[0][0]):
                continue
            self._names.add(path)
            entry = (number, path, row.span if isinstance(row, Item) else None)
            if len(self._heap) < self._most:
                heapq.heappush(self._heap, entry)
            else:
                self._names.discard(heapq.heapreplace(self._heap, entry)[1])

    def check(self, folder: Path, reporter: Reporter) -> MediaSummary:
        """Decode them from where records find them."""
        root = MediaRoot(folder)
        images: list[Look] = []
        videos: list[Look] = []
        unreadable: list[tuple[str, str]] = []
        with reporter.progress("check media", len(self._heap)) as advance:
            for _, path, span in sorted(self._heap, key=lambda entry: entry[1]):
                if (why := complaint(root, path, span)) is not None:
                    unreadable.append((path, why))
                elif (look := look_at(root, path)) is not None:
                    (images if look.seconds is None else videos).append(look)
                advance(1)
        return MediaSummary(
            images=len(images),
            image_sizes=_sizes(images),
            videos=len(videos),
            video_sizes=_sizes(videos),
            seconds=_range([look.seconds for look in videos if look.seconds is not None]),
            frame_rates=_range([look.frame_rate for look in videos if look.frame_rate]),
            unreadable=tuple(unreadable),
        )


def look_at(root: MediaRoot, path: str) -> Look | None:
    """What the head of a medium says that can be decoded; none: it is a folder of frames."""
    import io

    if root.locate(path) == "folder":
        return None
    source = root.open(path)
    if is_data_uri(path) or Path(path).suffix.lower() in IMAGE_SUFFIXES:
        from PIL import Image

        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return Look(*image.size)
    import av

    with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "r") as container:
        stream = container.streams.video[0]
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (container.duration or 0) / 1e6
        rate = float(stream.average_rate) if stream.average_rate else None
        return Look(stream.codec_context.width, stream.codec_context.height, seconds, rate)


def _sizes(looks: list[Look]) -> tuple[str, str, str] | None:
    if not looks:
        return None
    ordered = sorted(looks, key=lambda look: (look.width * look.height, look.width))
    return ordered[0].size, ordered[(len(ordered) - 1) // 2].size, ordered[-1].size


def _range(values: list[float]) -> tuple[float, float, float] | None:
    return (min(values), median_low(values), max(values)) if values else None
