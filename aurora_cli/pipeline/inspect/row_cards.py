"""Rows of a token store as the page shows them: their text with the target tokens marked, and their images."""

from typing import NamedTuple

from aurora_cli.data.token_store.store import Row
from aurora_cli.data.tokenization.preview import text_pieces
from aurora_cli.pipeline.inspect.store import Stores
from aurora_cli.pipeline.inspect.store_report import ShownRow
from aurora_cli.pipeline.inspect.thumbnails import IMAGES, Thumbnail

TEXT = 20_000
"""Characters of a row's text."""


class PageRow(NamedTuple):
    """A row, and its images as the page shows them."""

    shown: ShownRow
    row: Row
    thumbnails: list[Thumbnail]


class RowImage(NamedTuple):
    """An image of a row, or a frame of its video."""

    name: str
    jpeg: bytes | None
    instead: str
    """Why there is no image."""
    state: str
    kind: str
    """good or bad."""


class RowCard(NamedTuple):
    """A row as the page shows it."""

    id: str
    summary: str
    images: list[RowImage]
    files: list[str]
    """All of them with their states, where `images` are not all."""
    text: list[tuple[str, bool]]
    """Pieces, and whether each is of target tokens."""
    is_cut: bool
    token_ids: str


def card(entry: PageRow, selected: Stores) -> RowCard:
    sample = entry.shown.sample
    summary = f"row {entry.shown.number:,} · {sample.length:,} tokens, {sample.target_tokens:,} of them targets"
    videos = [length for length in sample.media_lengths if length > 1]
    if videos:
        whose = "its video" if len(videos) == 1 else "its videos"
        summary += f" · frames of {whose}: {', '.join(map(str, videos[:IMAGES]))}"
    text, is_cut = shown_text(entry.row, selected)
    return RowCard(
        id=sample.id,
        summary=summary,
        images=[row_image(thumbnail, entry.shown) for thumbnail in entry.thumbnails],
        files=files_beside(entry),
        text=text,
        is_cut=is_cut,
        token_ids=" ".join(map(str, sample.input_ids)),
    )


def row_image(thumbnail: Thumbnail, shown: ShownRow) -> RowImage:
    kind, state = state_of(thumbnail, shown)
    return RowImage(thumbnail.name, thumbnail.jpeg, thumbnail.reason, state, kind)


def state_of(thumbnail: Thumbnail, shown: ShownRow) -> tuple[str, str]:
    """Good or bad, and the word for it."""
    if thumbnail.unreadable:
        return "bad", "unreadable"
    states = {"folder": ("good", "found"), "index": ("good", "in an indexed archive"), "missing": ("bad", "missing")}
    return states[shown.media.get(thumbnail.name, "folder")]


def files_beside(entry: PageRow) -> list[str]:
    """Every file of a row with its state, if some have no thumbnail."""
    hidden = len(entry.shown.media) - len({thumbnail.name for thumbnail in entry.thumbnails})
    if not entry.thumbnails or hidden <= 0 or entry.row.video:
        return []
    return [f"{name}: {state}" for name, state in entry.shown.media.items()]


def shown_text(row: Row, selected: Stores) -> tuple[list[tuple[str, bool]], bool]:
    """The text of a row in pieces, each with whether it is of target tokens; and whether there is more of it."""
    assert selected.tokenizer is not None
    pieces, left = [], TEXT
    for text, is_target in text_pieces(row.input_ids, row.labels, selected.tokenizer):
        pieces.append((text[:left], is_target))
        left -= len(text)
        if left <= 0:
            return pieces, True
    return pieces, False
