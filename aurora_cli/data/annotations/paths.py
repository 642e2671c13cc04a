"""The paths of images and videos in the values of a record, in every form that people give them.

An image is a path, a `file://` address, a `data:` address that holds it, or an object with one of these under `path`,
`url` or the like, or with its `bytes` in base64. A video is a path, an object with one, or the list of its frames.
Paths come out as they are to be looked up; a `data:` address stands for itself.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from aurora_cli.data.annotations.keys import Reading, says_something
from aurora_cli.data.annotations.records import Rejection, Span, shortened
from aurora_cli.data.annotations.spans import span_in
from aurora_cli.io.data_uri import image_in, image_uri, is_data_uri

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|data:", re.IGNORECASE)
VIDEO_FILE = re.compile(r"\.(3gp|avi|flv|m2ts|m4v|mkv|mov|mp4|mpe?g|mts|ogv|ts|vob|webm|wmv)$", re.IGNORECASE)
FRAME_FILE = re.compile(r"\.(avif|bmp|gif|heic|jpe?g|png|ppm|tiff?|webp)$", re.IGNORECASE)

IMAGE_KEYS = ("image", "images", "image_path", "image_paths")
VIDEO_KEYS = ("video", "videos", "video_path", "video_paths", "clip", "frames")
INSIDE = (
    "path",
    "url",
    "image",
    "image_url",
    "video",
    "video_url",
    "file",
    "image_path",
    "video_path",
    "image_file",
    "video_file",
)
"""Keys of an object that stands for a medium, under which its path is."""

_T = TypeVar("_T")


class Video(NamedTuple):
    """A video: a file or a folder of frames, or the files of its frames."""

    path: str | None
    frames: list[str] | None
    span: Span | None = None


class Beside(NamedTuple):
    """The media that a record names beside its conversation."""

    images: list[str] | None
    """Never empty."""
    video: Video | None


def media_in(value: Mapping[str, object], reading: Reading) -> Beside:
    """The media that the keys of a record name.

    Raises:
        Rejection: they are no media, or several keys name different ones.
    """
    images = [(key, value[key]) for key in IMAGE_KEYS if key in value and says_something(value[key])]
    videos = [(key, value[key]) for key in VIDEO_KEYS if key in value and says_something(value[key])]
    if not images and not videos:
        return Beside(None, None)
    numbers = {key for key, given in videos if key in ("clip", "frames") and not isinstance(given, str | list | dict)}
    videos = [(key, given) for key, given in videos if key not in numbers]
    reading.unread |= numbers  # a score, or how many
    reading.read.update(key for key, _ in (*images, *videos))
    return Beside(
        only([(key, image_list(given, key)) for key, given in images]),
        only([(key, video_of(given, reading, key)) for key, given in videos]),
    )


def only(found: list[tuple[str, _T]]) -> _T | None:
    """What several keys agree in; none: there is nothing.

    Raises:
        Rejection: they do not agree.
    """
    if any(one != found[0][1] for _, one in found):
        raise Rejection("bad_media", f"{' and '.join(key for key, _ in found)} name different media")
    return found[0][1] if found else None


def image_paths(value: object, name: str = "image") -> list[str] | None:
    """A path or a list of paths as a list; nothing (null, "", []) as None.

    >>> image_paths("a.jpg"), image_paths(["a.jpg", {"path": "b.jpg", "bytes": None}]), image_paths([])
    (['a.jpg'], ['a.jpg', 'b.jpg'], None)
    """
    return image_list(value, name) if says_something(value) else None


def image_list(value: object, name: str) -> list[str]:
    """The images that a value names, which may be in a list.

    Raises:
        Rejection: it names none.
    """
    return [path_of(one, name, value) for one in (value if isinstance(value, list) else [value])]


def video_of(value: object, reading: Reading, name: str = "video") -> Video:
    """A path, an object with one, or a list of one of these; or a list of frames.

    Raises:
        Rejection: it is none.
    """
    if isinstance(value, list):
        if len(value) == 1 and name != "frames" and not (isinstance(value[0], str) and FRAME_FILE.search(value[0])):
            return video_of(value[0], reading, name)
        frames = [path_of(one, name, value) for one in value]
        if not frames or any(VIDEO_FILE.search(path) for path in frames):
            raise Rejection("bad_media", f"{name} is {shortened(value)}")
        return Video(None, frames)
    if isinstance(value, dict):
        path = path_of({key: one for key, one in value.items() if key != "bytes"}, name, value)
        span = span_in(value, reading, f"{name}.")
    else:
        path, span = path_of(value, name, value), None
    if is_data_uri(path):
        raise Rejection("remote_media", f"{name} is {shortened(path)}")
    return Video(path, None, span)


def path_of(given: object, name: str, whole: object) -> str:
    """The path that a text is or an object holds; `whole` is what messages show.

    Raises:
        Rejection: there is none.
    """
    if isinstance(given, dict):
        content = given.get("bytes")
        if says_something(content):
            uri = image_uri(content) if isinstance(content, str) else None
            if uri is None:
                raise Rejection("bad_media", f"bytes of {name} are no image in base64: {shortened(content)}")
            return uri
        given = next((given[key] for key in INSIDE if says_something(given.get(key))), None)
        if isinstance(given, dict):
            return path_of(given, name, whole)
    if not isinstance(given, str) or not given:
        raise Rejection("bad_media", f"{name} is {shortened(whole)}")
    return local_path(given)


def local_path(given: str) -> str:
    """The path that `given` is, or names as `file://`; a `data:` address that holds an image is its own path.

    >>> local_path("a/b.jpg"), local_path("file:///data/a%20b.jpg"), local_path("data:image/gif;base64,R0lGODlh")
    ('a/b.jpg', '/data/a b.jpg', 'data:image/gif;base64,R0lGODlh')

    Raises:
        Rejection: it is somewhere on the network, or holds no image.
    """
    if ":" not in given:
        return given
    if given[:5].lower() == "file:":
        return unquote(urlsplit(given).path)
    if is_data_uri(given):
        if image_in(given) is None:
            raise Rejection("remote_media", shortened(given))
        return given
    if ADDRESS.match(given):
        raise Rejection("remote_media", shortened(given))
    return given
