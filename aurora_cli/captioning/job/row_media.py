"""What a row of a list may name as its medium: what a record may, so that one list serves both.

A file, a folder of frames, a `file://` address, an object in a bucket, a URL where those are allowed, a `data:` image,
the list of a video's frames, or an object with one of these.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from aurora_cli.data.annotations.keys import Reading, says_something
from aurora_cli.data.annotations.paths import INSIDE, image_list, local_path, path_of
from aurora_cli.data.annotations.records import Rejection, Span, shortened
from aurora_cli.data.annotations.spans import span_in
from aurora_cli.data.media.listing import Medium, medium_of
from aurora_cli.data.media.remote.roots import Lookup, bucket
from aurora_cli.data.media.remote.stored import stored_medium
from aurora_cli.errors import UsageError, reason_of
from aurora_cli.io.data_uri import image_in, image_type, is_data_uri
from aurora_cli.io.urls import is_url, parent_of, same_bucket
from aurora_cli.storage.errors import shown

HASH_LENGTH = 16
"""Hexadecimal digits that tell media without a name apart."""


class RowMedium(NamedTuple):
    """The medium of a row, and the part of it that its object says."""

    medium: Medium
    span: Span | None = None


class RowMedia:
    """Finds what rows name: in what was named to look in, or else beside their file, or else in the workspace.

    `home`: the URL of their file, if it lies in a bucket; then they name what lies in that bucket, and no file here.
    """

    def __init__(
        self, beside: Path, root: Path, *, allow_remote: bool, lookups: Sequence[Lookup] = (), home: str | None = None
    ) -> None:
        self._beside, self._root, self._allow_remote = beside, root, allow_remote
        self._lookups, self._home = (*lookups, *(() if home is None else [bucket(parent_of(home))])), home

    def find(self, given: object, reading: Reading) -> RowMedium:
        """The medium that a value names.

        Raises:
            Rejection: it names none.
        """
        if isinstance(given, list) and len(given) == 1:
            return self.find(given[0], reading)
        if isinstance(given, list) and given:
            return RowMedium(self._frames(given))
        if not isinstance(given, Mapping):
            return RowMedium(self._named(given))
        if says_something(given.get("bytes")):
            return RowMedium(self._named(path_of(given, "media", given)))
        inner = next((given[key] for key in INSIDE if says_something(given.get(key))), None)
        if isinstance(inner, list) or inner is None:
            raise Rejection("bad_media", f"media: it is {shortened(given)}; a path was expected in it")
        return RowMedium(self.find(inner, reading).medium, span_in(given, reading, "media."))

    def _named(self, name: object) -> Medium:
        if isinstance(name, str) and is_data_uri(name):
            return _data_image(name)
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            given = "it is missing" if name is None else f"it is {shortened(name)}"
            raise Rejection("bad_media", f"media: {given}; a path was expected")
        return self._located(local_path(name) if name[:5].lower() == "file:" else name)

    def _frames(self, given: list[object]) -> Medium:
        """A list of files as one video. Its name says which, for a list has none."""
        names = image_list(given, "media")
        if any(is_data_uri(name) for name in names):
            raise Rejection("bad_media", "media: images that are written out, in a list of frames; files were expected")
        media = [self._located(name) for name in names]
        if any(medium.is_remote for medium in media):
            raise Rejection("remote_media", "media: a list of frames that are no files of this machine is not read")
        paths = tuple(medium.path for medium in media)
        digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:HASH_LENGTH]
        return Medium(f"{names[0]} and {len(names) - 1} more frames ({digest})", str(paths[0]), "video", frames=paths)

    def _located(self, name: str) -> Medium:
        if is_url(name):
            if not self._allow_remote and (self._home is None or not same_bucket(name, self._home)):
                raise Rejection("remote_media", f"{shown(name)}: is in another bucket (--allow-remote)")
            return stored_medium(name, name)
        try:
            if "://" not in name:
                found = (medium for lookup in self._lookups if (medium := lookup(name)) is not None)
                if (medium := next(found, None)) is not None:
                    return medium
            beside = medium_of(name, self._beside, allow_remote=self._allow_remote)
            if beside.is_remote or beside.path.exists():
                return beside
            within = medium_of(name, self._root)
            return within if within.path.exists() else beside
        except UsageError as error:
            raise Rejection("bad_media", error.message) from error
        except (OSError, ValueError, RuntimeError) as error:  # too long a name, no such user's home
            raise Rejection("bad_media", f"media: no path: {reason_of(error)}") from error


def _data_image(uri: str) -> Medium:
    """An image that a `data:` address holds. Captions name it by its hash, for it may be long."""
    content = image_in(uri)
    if content is None:
        raise Rejection("remote_media", f"media: {shortened(uri)}: it holds no image")
    digest = hashlib.sha256(content).hexdigest()[:HASH_LENGTH]
    name = f"data:image/{image_type(content)};sha256,{digest}"
    return Medium(name, f"{digest}.{image_type(content)}", "image", content=content)
