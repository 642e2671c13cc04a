"""MSR-VTT's `{"sentences": [{"video_id", "caption"}]}` and VATEX's `[{"videoID", "enCap": [...]}]`: videos by id."""

from collections.abc import Iterator
from pathlib import Path

from aurora_cli.console import Advance
from aurora_cli.data.annotations.files import raw_records
from aurora_cli.data.annotations.records import Rejection, decode_json
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.importing.json_text import Entry, entries_in, has_keys, head_of, text_under
from aurora_cli.data.importing.table import captions_in

VATEX = ("videoID", "enCap")


def suits(source: Path) -> bool:
    """By the keys of the first rows."""
    head = head_of(source)
    if head.startswith("["):
        return has_keys(head, *VATEX)
    return has_keys(head, "video_id") and (has_keys(head, "sentences") or has_keys(head, "videos"))


def open_videos(source: Path, options: Options) -> Opened:
    """Either of the two, by how the file begins."""
    is_vatex = head_of(source).startswith("[")

    def rows(advance: Advance) -> Rows:
        return vatex_rows(source, advance) if is_vatex else msrvtt_rows(source, advance)

    about = "videos by their ids, each with its list of captions" if is_vatex else "sentences on videos by their ids"
    return Opened((source,), source.parent, (about,), rows)


def msrvtt_rows(source: Path, advance: Advance) -> Rows:
    """A row each sentence."""
    for entry in entries_in(source, advance):
        if entry.key == "sentences":
            yield _sentence(source, entry)
        elif not entry.text:
            yield Refused(source.name, entry.number or 1, source.name, "bad_json", "the file breaks off")


def _sentence(source: Path, entry: Entry) -> Item | Refused:
    line = entry.number or 1
    name = f"{source.name}:{line}"
    try:
        value = entry.load()
        video = value.get("video_id")
        if not isinstance(video, str) or not video:
            raise Rejection("no_media", "no video_id")
        name = f"{video}#{value.get('sen_id', line)}"
        return Item(source.name, line, name, (video,), "video", text_under(value, "caption"))
    except Rejection as rejection:
        return Refused(source.name, line, name, rejection.reason, rejection.detail)


def vatex_rows(source: Path, advance: Advance) -> Rows:
    """A row each English caption."""
    for line, raw in raw_records(source, advance):
        yield from _captions(source, line, raw)


def _captions(source: Path, line: int, raw: bytes) -> Iterator[Item | Refused]:
    name = f"{source.name}:{line}"
    try:
        value = decode_json(raw)
        video = value.get("videoID")
        if not isinstance(video, str) or not video:
            raise Rejection("no_media", "no videoID")
        name = video
        texts = captions_in(value.get("enCap"))
    except Rejection as rejection:
        yield Refused(source.name, line, name, rejection.reason, rejection.detail)
        return
    for number, text in enumerate(texts):
        yield Item(source.name, line, f"{name}#{number}", (video,), "video", text)


FORMAT = ImportFormat("msrvtt", "a .json of MSR-VTT (`sentences`) or VATEX (`enCap`)", suits, open_videos, rank=32)
