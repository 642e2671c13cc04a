"""From what a user names - files, folders, patterns - to the list of media to caption, in a stable order."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from aurora_cli.data.media.animations import is_video
from aurora_cli.data.media.kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES, MediaKind, kind_by_name
from aurora_cli.errors import UsageError

_FRAME_NAME = re.compile(r"(.*[^a-z])?(frame|frm)[^a-z]*\d+", re.IGNORECASE)
_URL = re.compile(r"\w+://")


class Source(Protocol):
    """What brings a medium here that is no file of this machine."""

    def fetch(self, folder: Path, max_bytes: int) -> Path:
        """The file, or the folder of frames, that it becomes in `folder`.

        Raises:
            DataError: it is not there, or has more bytes
            HostError: where it lies cannot be reached
        """
        ...


class Medium(NamedTuple):
    """One thing to caption."""

    name: str
    """As reported: relative to the workspace where it lies in it."""
    location: str
    """Where it lies: a text, for it is kept of every medium, and a path takes three times as much."""
    kind: MediaKind
    is_remote: bool = False
    """Nothing lies at `path` yet; what it is shows when it is fetched."""
    content: bytes | None = None
    """Of an image that no file holds; nothing lies at `path` yet."""
    frames: tuple[Path, ...] = ()
    """Of a video that is a list of files; `path` is the first of them."""
    source: Source | None = None
    """Of one that is remote; none: `name` is a URL for http."""

    @property
    def path(self) -> Path:
        return Path(self.location)


def list_media(given: Iterable[str], root: Path, *, allow_remote: bool = False) -> list[Medium]:
    """Every medium once, in the order it was named; a folder's in the order of their names.

    A folder of files called frame_0001.png and so on is a video; another one is searched to the bottom. A file that is
    named itself is taken whatever it is called, and if it is missing it fails when it is read.

    Raises:
        UsageError: a URL where none is allowed, or a pattern or folder without media.
    """
    found: dict[str, Medium] = {}
    for name in given:
        if _URL.match(name):
            found.setdefault(name, _remote(name, allow_remote))
            continue
        media = list(_named(name, root))
        if not media:
            raise UsageError(
                f"{name}: {'matches' if _is_pattern(name) else 'holds'} no images and no videos",
                hint=f"Files that end in {', '.join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))} are looked for.",
            )
        for medium in media:
            found.setdefault(medium.location, medium)
    return list(found.values())


def medium_of(name: str, root: Path, *, allow_remote: bool = False) -> Medium:
    """The one medium of that name, as it is written: a folder is a video, whatever its files are called.

    Raises:
        UsageError: it is a URL, and none is allowed.
    """
    if _URL.match(name):
        return _remote(name, allow_remote)
    path = root / Path(name).expanduser()
    return Medium(name, str(path), "video") if path.is_dir() else _medium(path, root)._replace(name=name)


def passed_over(given: Iterable[str], root: Path) -> list[str]:
    """Files of the folders that are named, which `list_media` takes for no media by their names; hidden ones aside."""
    found: dict[Path, None] = {}
    for folder in (root / Path(name).expanduser() for name in given if not _URL.match(name)):
        if folder.is_dir():
            found |= dict.fromkeys(_others_in(folder))
    return [_name(path, root) for path in found]


def _others_in(folder: Path) -> Iterator[Path]:
    for entry in sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".")):
        if entry.is_dir():
            yield from _others_in(entry)
        elif kind_by_name(entry) is None:
            yield entry


def _remote(url: str, allowed: bool) -> Medium:
    if not url.lower().startswith(("http://", "https://")):
        raise UsageError(f"{url}: only http and https are fetched")
    if not allowed:
        raise UsageError(
            f"{url}: is on the network; media are read from this machine", hint="Download it first, or --allow-remote."
        )
    return Medium(url, url, "image", is_remote=True)


def _named(name: str, root: Path) -> Iterator[Medium]:
    path = root / Path(name).expanduser()
    if path.is_dir():
        yield from _in_folder(path, root)
    elif not path.exists() and _is_pattern(name):
        pattern = Path(name).expanduser()
        anchor = Path(pattern.anchor) if pattern.is_absolute() else root
        for match in sorted(anchor.glob(str(pattern.relative_to(pattern.anchor)))):
            yield from _in_folder(match, root) if match.is_dir() else [_medium(match, root)]
    else:
        yield _medium(path, root)


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def _in_folder(folder: Path, root: Path) -> Iterator[Medium]:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    images = [entry for entry in entries if kind_by_name(entry) == "image"]
    if images and all(_FRAME_NAME.fullmatch(image.stem) for image in images):
        yield _at(folder, root, "video")
        entries = [entry for entry in entries if entry not in images]
    for entry in entries:
        if entry.is_dir():
            yield from _in_folder(entry, root)
        elif kind_by_name(entry) is not None:
            yield _medium(entry, root)


def _medium(path: Path, root: Path) -> Medium:
    return _at(path, root, "video" if is_video(path, path.name) else "image")


def _at(path: Path, root: Path, kind: MediaKind) -> Medium:
    name, location = _name(path, root), str(path)
    return Medium(name, name if name == location else location, kind)  # equal, they are kept as one text


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
