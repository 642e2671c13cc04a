"""Which images and videos a request may name, and their pixels: those that `aurora caption` makes of the same files.

Nothing is written to a disk, so nothing is left when the server is killed.
Shapes: F frames, S side of the tower's square.
"""

import base64
import binascii
import contextlib
import io
import os
import re
import stat
import urllib.parse
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from aurora_cli.config.settings import ModelSettings
from aurora_cli.data.media.animations import is_animation
from aurora_cli.data.media.decoders.sampling import Sampling, VideoLimits, evenly_spaced
from aurora_cli.data.media.errors import UnreadableMedia
from aurora_cli.data.media.images import Colour
from aurora_cli.data.media.kinds import IMAGE_SUFFIXES, MediaKind
from aurora_cli.data.media.reader import image_pixels, video_pixels
from aurora_cli.data.media.remote.http import fetch_bytes
from aurora_cli.data.media.transforms import normalise, padding_colour
from aurora_cli.serving.refusal import Refusal

_DATA = re.compile(r"data:(?:([\w.+-]+)/([\w.+-]+))?(?:;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)
_DATA_HEAD = 200
_BLANKS = re.compile(r"\s+")
_JPEG_FRAMES = ("video", "jpeg")
"""Type of an address that holds a video's frames as JPEGs with commas between, as vLLM takes them."""

MOST_JPEG_FRAMES = 4096
"""Of an address that holds them."""


@dataclass(frozen=True)
class MediaLimits:
    """What a request may name."""

    root: Path | None = None
    """Files below it may be named; none: no files."""
    allow_remote: bool = False
    max_bytes: int = 64 << 20
    """Of a file or an answer from the network."""
    max_pixels: int = 50_000_000
    """Of an image, and of a frame of a video."""
    max_video_frames: int = 100_000

    @property
    def of_videos(self) -> VideoLimits:
        return VideoLimits(self.max_pixels, self.max_video_frames)


class HeldMedium(NamedTuple):
    """An image or a video in memory."""

    name: str
    """In messages."""
    kind: MediaKind
    content: bytes | tuple[bytes, ...]
    """The file, or a video's frames."""
    suffix: str = ""
    """What decoders go by; none: that of the name."""

    def frames(self, count: int, model: ModelSettings, sampling: Sampling, limits: MediaLimits) -> torch.Tensor:
        """(F, 3, S, S) float32: F is 1 of an image, else `count`.

        Raises:
            DataError: it cannot be read, or has more pixels or frames than are taken.
        """
        try:
            levels = self._levels(count, model.image_size, padding_colour(model.image_mean), sampling, limits)
        except UnreadableMedia as error:
            raise UnreadableMedia(f"{self.name}{error.message.removeprefix(self._file_name)}") from error
        return normalise(levels, model.image_mean, model.image_std)

    @property
    def _file_name(self) -> str:
        """What decoders name in their messages."""
        return f"{self.name}{self.suffix}"

    def _levels(self, count: int, size: int, fill: Colour, sampling: Sampling, limits: MediaLimits) -> torch.Tensor:
        """(F, S, S, 3) uint8."""
        name = self._file_name
        if self.kind == "image" or isinstance(self.content, tuple):
            contents = self._selected(count)
            for content in contents:
                check_pixels(content, name, limits.max_pixels)
            return torch.stack(
                [torch.from_numpy(image_pixels(content, name, size, fill).copy()) for content in contents]
            )
        if Path(name).suffix.lower() in IMAGE_SUFFIXES:
            check_pixels(self.content, name, limits.max_pixels)
        with _as_file(self.content) as path:
            return torch.from_numpy(video_pixels(path, name, count, size, fill, sampling, limits=limits.of_videos))

    def _selected(self, count: int) -> Sequence[bytes]:
        if isinstance(self.content, bytes):
            return (self.content,)
        return [self.content[index] for index in evenly_spaced(len(self.content), count)]


def check_pixels(content: bytes, name: str, max_pixels: int) -> None:
    """By its header: nothing is decoded.

    Raises:
        UnreadableMedia: it has more pixels than are taken. What has no header that can be read is left to the reader.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise UnreadableMedia(f"{name}: has more than {max_pixels:,} pixels, which are taken at most") from error
    except Exception:  # Pillow raises anything on damaged files; reading it says what is wrong
        return
    if width * height > max_pixels:
        raise UnreadableMedia(f"{name}: has {width:,} x {height:,} pixels; at most {max_pixels:,} are taken")


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    """A file that has no name on any disk: the kernel frees it when this process ends, however it does."""
    number = os.memfd_create("medium")
    with open(number, "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{number}")


def read_medium(url: str, kind: MediaKind, limits: MediaLimits, param: str) -> HeldMedium:
    """The medium at an address of a request: `data:`, below the media root, or on the network where that is allowed.

    Raises:
        Refusal: it may not be named so, or is not there.
        DataError: the network refuses, or it is too large.
    """
    scheme = url[:8].lower()
    if scheme.startswith("data:"):
        return _from_data(url, kind, param)
    if scheme.startswith(("http://", "https://")):
        return _from_network(url, kind, limits, param)
    if scheme.startswith("file:"):
        return _from_file(_path_of(url, param), kind, limits, param)
    if re.match(r"[a-z][a-z0-9+.-]*:", url, re.IGNORECASE):
        raise Refusal(400, f"{param}: {url[:60]!r}: data:, file: and, where it is allowed, http: are read", param=param)
    return _from_file(url, kind, limits, param)


def _from_data(url: str, kind: MediaKind, param: str) -> HeldMedium:
    head = _DATA.match(url[:_DATA_HEAD])
    if head is None:
        raise Refusal(400, f"{param}: {url[:40]!r}...: data:TYPE;base64,... was expected", param=param)
    type_, subtype = (head[1] or "").lower(), (head[2] or "").lower()
    texts = [url[head.end() :]]
    is_frames = kind == "video" and (type_, subtype) == _JPEG_FRAMES
    if is_frames:
        texts = texts[0].split(",", MOST_JPEG_FRAMES)
        if len(texts) > MOST_JPEG_FRAMES:
            raise Refusal(400, f"{param}: more than {MOST_JPEG_FRAMES:,} frames", param=param)
    contents = tuple(_decoded(text, param) for text in texts)
    if is_frames:
        return HeldMedium(f"{param} (data:video/jpeg)", "video", contents, ".jpeg")
    declared = f"{type_}/{subtype}" if type_ else ""
    return _held(f"{param} (data:{declared})", f".{subtype}" if type_ == "image" else "", kind, contents[0])


def _decoded(text: str, param: str) -> bytes:
    try:
        content = base64.b64decode(
            _BLANKS.sub("", text) if any(map(text.__contains__, " \t\r\n")) else text, validate=True
        )
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, f"{param}: is not base64: {error}", param=param) from error
    if not content:
        raise Refusal(400, f"{param}: is empty", param=param)
    return content


def _held(name: str, suffix: str, kind: MediaKind, content: bytes) -> HeldMedium:
    """With a suffix that decoders go by: of an image named as a video the animation's, if it is one."""
    if kind == "video" and suffix not in IMAGE_SUFFIXES:
        suffix = ".gif" if is_animation(content, "video.gif") else suffix or ".mp4"
    if kind == "image" and suffix not in IMAGE_SUFFIXES:
        suffix = ".png"
    return HeldMedium(name, kind, content, suffix)


def _from_network(url: str, kind: MediaKind, limits: MediaLimits, param: str) -> HeldMedium:
    if not limits.allow_remote:
        reason = f"{param}: is on the network, and this server fetches nothing (--allow-remote); send it as data:"
        raise Refusal(400, reason, param=param)
    fetched = fetch_bytes(url, limits.max_bytes)
    return _held(f"{param} ({urllib.parse.urlsplit(url).hostname})", fetched.suffix, kind, fetched.content)


def _path_of(url: str, param: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise Refusal(
            400, f"{param}: file://{parts.netloc}: is another machine's; file:///... was expected", param=param
        )
    return urllib.parse.unquote(parts.path, errors="surrogateescape")


def _from_file(path: str, kind: MediaKind, limits: MediaLimits, param: str) -> HeldMedium:
    if limits.root is None:
        reason = f"{param}: names a file, and this server reads none (--media-root DIR); send it as data:"
        raise Refusal(400, reason, param=param)
    content = _read_below(limits.root.resolve(), path, limits.max_bytes, param)
    return _held(f"{param} ({Path(path).name})", Path(path).suffix.lower(), kind, content)


def _read_below(root: Path, path: str, max_bytes: int, param: str) -> bytes:
    """The file that `path` names from the root, read through the descriptor whose real path was checked: what the path
    names may change in between.
    """
    try:
        real = Path(os.path.realpath(root / path))
    except (ValueError, OSError) as error:  # a zero byte, or a name that is too long
        raise _missing(param) from error
    if not real.is_relative_to(root):
        raise _outside(param)
    try:
        number = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (ValueError, OSError) as error:
        raise _missing(param) from error
    try:
        if not Path(f"/proc/self/fd/{number}").readlink().is_relative_to(root):
            raise _outside(param)
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode):
            raise _missing(param)
        if about.st_size > max_bytes:
            raise Refusal(413, f"{param}: has {about.st_size:,} bytes; at most {max_bytes:,} are read", param=param)
        with open(number, "rb", closefd=False) as file:
            return file.read(max_bytes + 1)[:max_bytes]
    finally:
        os.close(number)


def _outside(param: str) -> Refusal:
    return Refusal(403, f"{param}: is not below the media root", param=param)


def _missing(param: str) -> Refusal:
    return Refusal(404, f"{param}: there is no such file below the media root", param=param)
