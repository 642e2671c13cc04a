"""The check: training records go by one at a time, beside what is kept of the media and texts of the evaluation."""

import contextlib
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from aurora_cli.data.media.animations import is_video
from aurora_cli.data.media.decoders.sampling import evenly_spaced
from aurora_cli.data.media.errors import MissingMedia
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.seen import Seen
from aurora_cli.errors import DataError
from aurora_cli.evaluation.contamination.found import Found, Leak
from aurora_cli.evaluation.contamination.looks import VIDEO_FRAMES, Frame, Near, image_look, video_look
from aurora_cli.evaluation.contamination.training import TrainingRecord, Unread
from aurora_cli.io.atomic import sha256_of
from aurora_cli.io.data_uri import shown

_NO_WORD = re.compile(r"[\W_]+")


class Evaluated(NamedTuple):
    """A medium of the evaluation."""

    id: str
    path: Path | None
    """None: its file is not here."""
    references: Sequence[str]
    caption: str


def normalised(text: str) -> str:
    """A text without what two writings of it differ in.

    >>> normalised(" A dog, running\\u2014fast! ")
    'a dog running fast'
    """
    return _NO_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def check(evaluated: Sequence[Evaluated], records: Iterable[TrainingRecord | Unread], *, looks: bool) -> Found:
    """`looks`: also compare how media look, which decodes all of them.

    Raises:
        DataError: the training data cannot be read.
    """
    texts, media = _Texts(evaluated), _Media(evaluated, looks=looks)
    count = unread = 0
    for record in records:
        count += 1
        if isinstance(record, Unread):
            unread += 1
            continue
        texts.compare(record)
        media.compare(record)
    return Found(
        equal_media=tuple(media.equal.values()),
        near_media=tuple(leak for medium, leak in media.near.items() if medium not in media.equal),
        equal_references=tuple(texts.references.values()),
        equal_captions=tuple(texts.captions.values()),
        records=count,
        unread_records=unread,
        training_media=media.compared,
        unread_media=media.unread,
        not_here=tuple(media.not_here),
    )


class _Texts:
    """The texts of the evaluation, normalised."""

    def __init__(self, evaluated: Sequence[Evaluated]) -> None:
        self.references: dict[str, Leak] = {}
        self.captions: dict[str, Leak] = {}
        self._media_of: dict[str, list[tuple[dict[str, Leak], str]]] = {}
        for each in evaluated:
            for found, texts in ((self.references, each.references), (self.captions, [each.caption])):
                for text in filter(None, map(normalised, texts)):
                    self._media_of.setdefault(text, []).append((found, each.id))

    def compare(self, record: TrainingRecord) -> None:
        for text in record.texts:
            for found, medium in self._media_of.get(normalised(text), ()):
                found.setdefault(medium, Leak(medium, record.where, text.strip()))


class _Media:
    """The media of the evaluation: their sizes, hashes and looks."""

    def __init__(self, evaluated: Sequence[Evaluated], *, looks: bool) -> None:
        self.equal: dict[str, Leak] = {}
        self.near: dict[str, Leak] = {}
        self.not_here: list[str] = []
        self.compared = self.unread = 0
        self._seen = Seen()
        self._roots: dict[Path, MediaRoot] = {}
        self._ids: list[str] = []
        self._sizes: set[int] = set()
        self._by_hash: dict[str, list[str]] = {}
        frames: list[list[Frame]] = []
        for each in evaluated:
            try:
                if each.path is None:
                    raise MissingMedia(each.id)
                size, sha256 = _size(each.path), _sha256(each.path)
            except (DataError, OSError):
                self.not_here.append(each.id)
                continue
            self._ids.append(each.id)
            self._sizes.add(size)
            self._by_hash.setdefault(sha256, []).append(each.id)
            frames.append([])
            with contextlib.suppress(DataError):  # bytes can be equal that nobody can decode
                frames[-1] += _look(each.path, each.path.name) if looks else []
        self._near = Near(frames) if looks else None

    def compare(self, record: TrainingRecord) -> None:
        for name in record.media:
            if self._ids and self._seen.add((record.root, name)):
                self.compared += 1
                try:
                    self._compare(record, name)
                except (DataError, OSError):
                    self.unread += 1

    def _compare(self, record: TrainingRecord, name: str) -> None:
        root = self._roots.setdefault(record.root, MediaRoot(record.root))
        if files := root.files_in(name):  # a video as a folder of frames
            if self._near is not None:
                some = [files[at] for at in evenly_spaced(len(files), VIDEO_FRAMES)]
                self._add_near(record, name, [frame for each in some for frame in _file_look(root, f"{name}/{each}")])
            return
        source = root.open(name)
        if _size(source) in self._sizes:
            for medium in self._by_hash.get(_sha256(source), ()):
                self.equal.setdefault(medium, Leak(medium, record.where, shown(name)))
        if self._near is not None:
            self._add_near(record, name, _look(source, name))

    def _add_near(self, record: TrainingRecord, name: str, look: Sequence[Frame]) -> None:
        for at in self._near.like(look) if self._near is not None else ():
            self.near.setdefault(self._ids[at], Leak(self._ids[at], record.where, shown(name)))


def _size(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _sha256(source: Path | bytes) -> str:
    return hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else sha256_of(source)


def _file_look(root: MediaRoot, name: str) -> list[Frame]:
    return image_look(root.read(name), name)


def _look(source: Path | bytes, name: str) -> list[Frame]:
    return video_look(source, name) if is_video(source, name) else image_look(source, name)
