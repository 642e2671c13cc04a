"""COCO's captions: images with their file names, and annotations that name an image by its id. Also Karpathy's splits.

Memory: the file names of all images. Annotations may come before the images; then the file is read twice.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from aurora_cli.console import Advance, unheard
from aurora_cli.data.annotations.records import Rejection, shortened
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.importing.json_text import Entry, entries_in, has_keys, head_of, text_under
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import JsonObject

SPLIT = "split"
EVERY_SPLIT = f"; images of every {SPLIT!r} (--rows {SPLIT}=VALUE takes some; Karpathy's has test and val in it)"
Selected: TypeAlias = tuple[str, str] | None
"""A key of images, and its value in those that are taken; none: all are."""

TOP = re.compile(r'"(images|annotations)"\s*:\s*\[')


def suits(source: Path) -> bool:
    """By the two lists of an object, and what an element of the first of them has."""
    head = head_of(source)
    if not head.startswith("{") or TOP.search(head) is None:
        return False
    return (
        has_keys(head, "file_name") or has_keys(head, "sentences", "filename") or has_keys(head, "image_id", "caption")
    )


def open_coco(source: Path, options: Options) -> Opened:
    """
    Raises:
        DataError: it is no JSON object.
    """
    if not head_of(source).startswith("{"):
        raise DataError(f"{source}: is no JSON object; COCO's is one with `images` and `annotations`")

    has_splits = has_keys(head_of(source), SPLIT, "sentences")
    about = f"COCO's captions, by the ids of images{EVERY_SPLIT if has_splits and options.rows is None else ''}"

    def rows(advance: Advance) -> Rows:
        return coco_rows(source, advance, options.rows)

    return Opened((source,), source.parent, (about,), rows, takes_rows=has_splits)


def coco_rows(source: Path, advance: Advance, selected: Selected = None) -> Rows:
    """A row each annotation; of an image that holds its sentences, each of those, if the image is selected."""
    names: dict[str, str] | None = None
    seen: dict[str, str] = {}
    for entry in entries_in(source, advance):
        if entry.key == "images":
            yield from _image(source, entry, seen, selected)
        elif entry.key == "annotations":
            if names is None:
                names = seen or _names(source)
            yield _annotation(source, entry, names)
        elif not entry.text:
            yield Refused(source.name, entry.number or 1, source.name, "bad_json", "the file breaks off")


def _names(source: Path) -> dict[str, str]:
    """The file name of each image, by its id."""
    names: dict[str, str] = {}
    for entry in entries_in(source, unheard):
        if entry.key == "images":
            for _ in _image(source, entry, names):
                pass
    return names


def _image(source: Path, entry: Entry, names: dict[str, str], selected: Selected = None) -> Iterator[Item | Refused]:
    """Note the name of an image; a row for each of its own sentences."""
    line = entry.number or 1
    location = f"{source.name}:images:{line}"
    try:
        image = entry.load()
        name = image.get("file_name") or image.get("filename")
        if not isinstance(name, str) or not name:
            raise Rejection("no_media", "an image without a file name")
        if selected is not None and (value := str(image.get(selected[0]))) != selected[1]:
            raise Rejection("other_rows", f"{selected[0]} is {shortened(value)}")
    except Rejection as rejection:
        yield Refused(source.name, line, location, rejection.reason, rejection.detail)
        return
    if isinstance(folder := image.get("filepath"), str) and folder:
        name = f"{folder}/{name}"
    names[str(image.get("id", image.get("cocoid", name)))] = name
    sentences = image.get("sentences")
    for number, sentence in enumerate(sentences if isinstance(sentences, list) else ()):
        yield _sentence(source, line, name, number, sentence)


def _sentence(source: Path, line: int, name: str, number: int, sentence: object) -> Item | Refused:
    text = sentence.get("raw") or sentence.get("caption") if isinstance(sentence, dict) else sentence
    if not isinstance(text, str) or not text.strip():
        return Refused(source.name, line, f"{name}#{number}", "no_caption", f"{text!r}"[:80])
    return Item(source.name, line, f"{name}#{number}", (name,), "image", text.strip())


def _annotation(source: Path, entry: Entry, names: dict[str, str]) -> Item | Refused:
    line = entry.number or 1
    name = f"{source.name}:annotations:{line}"
    try:
        annotation: JsonObject = entry.load()
        name = str(annotation.get("id", name))
        text = text_under(annotation, "caption")
        image = str(annotation.get("image_id"))
        if image not in names:
            raise Rejection("missing_media", f"no image has the id {image}")
    except Rejection as rejection:
        return Refused(source.name, line, name, rejection.reason, rejection.detail)
    return Item(source.name, line, name, (names[image],), "image", text)


FORMAT = ImportFormat(
    "coco", "a .json with `images` and `annotations`, or with images that have `sentences`", suits, open_coco, rank=30
)
