"""Media that a source holds in its cells, written out as files: each once, named by what it holds."""

import os
from hashlib import blake2b
from pathlib import Path

from aurora_cli.data.annotations.records import Rejection, shortened
from aurora_cli.data.importing.media_source import MEDIA_FOLDER
from aurora_cli.data.media.kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES, MediaKind
from aurora_cli.io.atomic import PARTIAL_SUFFIX, disk_errors
from aurora_cli.io.data_uri import image_type

FOLDER = f"{MEDIA_FOLDER}/embedded"

VIDEO_SIGNS = (
    (4, b"ftypqt", ".mov"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x1aE\xdf\xa3", ".mkv"),
    (8, b"AVI ", ".avi"),
    (0, b"\0\0\x01\xba", ".mpg"),
    (0, b"FLV", ".flv"),
)
"""Position, bytes that stand there, suffix."""


class EmbeddedMedia:
    """Writes into one subset's folder; with `output=None` nothing."""

    def __init__(self, output: Path | None) -> None:
        self._output = output
        self.written = 0
        self.contents: dict[str, bytes] = {}
        """What would be written, where nothing is: the last few."""

    def write(self, content: bytes, name: str, kind: MediaKind | None) -> tuple[str, MediaKind]:
        """The path that a record names the medium by, and what it is.

        Raises:
            Rejection: it is neither an image nor a video, by its name or by its beginning.
        """
        suffix, found = _kind_of(content, name)
        digest = blake2b(content, digest_size=16).hexdigest()
        path = f"{FOLDER}/{digest[:2]}/{digest}{suffix}"
        if self._output is None:
            self.contents = {**dict([*self.contents.items()][-7:]), path: content}
        elif not os.path.lexists(target := self._output / path):
            with disk_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = target.with_name(f".{target.name}{PARTIAL_SUFFIX}")
                partial.write_bytes(content)
                partial.replace(target)
            self.written += 1
        return path, kind if kind == "video" and suffix == ".gif" else found


def _kind_of(content: bytes, name: str) -> tuple[str, MediaKind]:
    if (image := image_type(content)) is not None:
        return {"jpeg": ".jpg", "tiff": ".tif"}.get(image, f".{image}"), "image"
    for at, sign, suffix in VIDEO_SIGNS:
        if content.startswith(sign, at):
            return suffix, "video"
    suffix = Path(name).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return suffix, "image"
    if suffix in VIDEO_SUFFIXES:
        return suffix, "video"
    raise Rejection("bad_media", f"{len(content):,} bytes that begin with {shortened(content[:8])}")
