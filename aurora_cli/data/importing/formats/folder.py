"""A folder of images and videos with a text beside each: `a.jpg` with `a.txt`, `a.caption`, `a.json` or `a.jpg.txt`."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aurora_cli.console import Advance
from aurora_cli.data.annotations.records import Rejection
from aurora_cli.data.importing.columns import TEXTS, plain_name
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.importing.table import captions_in
from aurora_cli.data.media.kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import JsonObject

TEXT_SUFFIXES = (".txt", ".caption", ".json")
"""The first that is there is read."""

MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
SHOWN = 5


class _Pair(NamedTuple):
    """A medium and its text, relative to the source; one of them may be missing."""

    medium: str | None
    text: str | None


def suits(source: Path) -> bool:
    """A folder with a text beside some medium, at any depth."""
    return source.is_dir() and any(pair.medium is not None and pair.text is not None for pair in pairs_below(source))


def open_folder(source: Path, options: Options) -> Opened:
    """
    Raises:
        DataError: no text lies beside any of the media: it has no captions, or the folders' names are all there is.
    """
    if not source.is_dir():
        raise DataError(f"{source}: is a file; a folder of media with texts beside them was expected")
    if not suits(source):
        raise without_captions(source)
    whole = "each line a caption" if options.caption_lines else "the whole text a caption"
    about = (f"media with texts beside them (.txt: {whole}; .json: its caption)",)

    def rows(advance: Advance) -> Rows:
        for pair in pairs_below(source):
            yield from rows_of(source, pair, options)

    return Opened((), source, about, rows, is_root_known=True)


def without_captions(source: Path) -> DataError:
    """What to say of a folder in which nothing describes the media."""
    media = [pair.medium for pair in pairs_below(source) if pair.medium is not None]
    if not media:
        return DataError(f"{source}: holds no images and no videos")
    folders = sorted({medium.rpartition("/")[0] for medium in media} - {""})
    hint = (
        "Write a text beside each (a.jpg and a.txt), or a table with a file name and a caption a row:\n"
        "aurora import captions.csv"
    )
    if not folders:
        return DataError(f"{source}: {len(media):,} images and videos, and no captions", hint=hint)
    named = ", ".join(folders[:SHOWN]) + (", ..." if len(folders) > SHOWN else "")
    return DataError(
        f"{source}: {len(media):,} images and videos in {len(folders):,} folders ({named}), and no captions. The name "
        "of a folder is a class, from which a captioner learns to say one word",
        hint=hint,
    )


def rows_of(source: Path, pair: _Pair, options: Options) -> Iterator[Item | Refused]:
    """The captions of a medium; or why there is none."""
    if pair.medium is None:
        yield Refused(str(pair.text), 1, str(pair.text), "missing_media", "a text without an image or video beside it")
        return
    name = pair.medium
    if pair.text is None:
        yield Refused(name, 1, name, "no_caption", "no text beside it")
        return
    try:
        texts = texts_of(pair.text, (source / pair.text).read_bytes(), options)
    except Rejection as rejection:
        yield Refused(pair.text, 1, name, rejection.reason, rejection.detail)
        return
    except OSError as error:
        yield Refused(pair.text, 1, name, "no_caption", f"cannot be read: {error.strerror}")
        return
    for number, text in enumerate(texts):
        yield Item(pair.text, 1, name if len(texts) == 1 else f"{name}#{number}", (name,), None, text)


def texts_of(name: str, raw: bytes, options: Options) -> list[str]:
    """The captions in a text of this name.

    Raises:
        Rejection: there is none.
    """
    utf16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    encoding = "utf-16" if utf16 else "utf-8-sig" if raw.startswith(b"\xef\xbb\xbf") else options.encoding
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise Rejection("bad_unicode", f"no {options.encoding} at byte {error.start}") from error
    if name.endswith(".json"):
        return captions_in(_caption_of(text, options))
    if not options.caption_lines:
        return captions_in([text])
    return captions_in([line for line in text.splitlines() if line.strip()])


def _caption_of(text: str, options: Options) -> object:
    """What stands for the caption in JSON: a text, a list of them, or the first key that is called so."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Rejection("bad_json", str(error)) from error
    if not isinstance(value, dict):
        return value
    return caption_in(value, options.text_column)


def caption_in(value: JsonObject, column: str | None) -> object:
    """What an object says about its medium, under the key that is given or the first that is called like a caption.

    Raises:
        Rejection: nothing.
    """
    if column is not None:
        return value.get(column)
    plain = {plain_name(key): key for key in reversed(value)}
    key = next((plain[word] for word in TEXTS if word in plain), None)
    if key is None:
        raise Rejection("no_caption", f"no key is called like a caption: {', '.join(list(value)[:8])}")
    return value[key]


def pairs_below(source: Path, below: str = "") -> Iterator[_Pair]:
    """Every medium with its text, and texts without one, in the order of their names; hidden files aside."""
    with os.scandir(source / below) as entries:
        found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    folders = [entry.name for entry in found if entry.is_dir()]
    names = [entry.name for entry in found if not entry.is_dir()]
    texts = {name for name in names if name.lower().endswith(TEXT_SUFFIXES)}
    used = set()
    for name in names:
        if Path(name).suffix.lower() in MEDIA_SUFFIXES:
            stem = name.rpartition(".")[0]
            text = next((base + end for end in TEXT_SUFFIXES for base in (stem, name) if base + end in texts), None)
            used.add(text)
            yield _Pair(below + name, None if text is None else below + text)
    for name in sorted(texts - used):
        if not name.endswith(".json"):
            yield _Pair(None, below + name)
    for folder in folders:
        yield from pairs_below(source, f"{below}{folder}/")


FORMAT = ImportFormat("folder", "a folder with a.jpg and a.txt, or a.mp4 and a.json", suits, open_folder, rank=90)
