"""Keys of rows and captions by the column, for lists of so many that to look at each takes too long.

Only what a row plainly says is taken from its columns: a medium by a path or URL, an id, a span of two numbers, a
question. Whatever else a row may say has to be read by `rows`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.json

from aurora_cli.captioning.job.caption_keys import NOT_PATHS, hashes_of

MEDIA, ID, SPAN, PROMPT = "media", "id", "span", "prompt"
_SPANS = pa.list_(pa.float64())
_KEY_TYPES = {MEDIA: [pa.string()], ID: [pa.string(), pa.int64()], SPAN: [_SPANS], PROMPT: [pa.string()]}
CAPTION_COLUMNS = {
    **dict.fromkeys(("kind", "caption", "made_by"), pa.string()),
    **dict.fromkeys(("frames", "visual_tokens", "prompt_tokens", "new_tokens"), pa.int64()),
    "seconds": pa.float64(),
}
"""What each caption has beside its key."""
_OF_PATHS = np.frombuffer(b"abceghijklmnopqrstuvwxyzABCEGHIJKLMNOPQRSTUVWXYZ0123456789_-./", np.uint8)
"""No media but paths and URLs begin so."""


class PlainKeys(NamedTuple):
    """The keys of some rows."""

    hashes: np.ndarray
    """(N,) uint64."""
    is_plain: np.ndarray
    """(N,) whether the row says no more than that; the others' hashes mean nothing."""


def parsed_lines(lines: Sequence[bytes], columns: dict[str, pa.DataType], *, others: bool) -> pa.Table | None:
    """The columns of JSON lines; none: some line is no object, or has another type of value.

    `others`: those that are not asked for come too.
    """
    for id_type in _KEY_TYPES[ID]:
        key = {MEDIA: pa.string(), ID: id_type, SPAN: _SPANS, PROMPT: pa.string()}
        schema = pa.schema([*columns.items(), *key.items()])
        options = pyarrow.json.ParseOptions(schema, unexpected_field_behavior="infer" if others else "ignore")
        try:
            raw = pa.py_buffer(b"\n".join(lines))
            block = pyarrow.json.ReadOptions(use_threads=False, block_size=max(len(raw) + 1, 1 << 10))
            table = pyarrow.json.read_json(pa.BufferReader(raw), block, options, pa.system_memory_pool())
        except pa.ArrowException:
            continue
        return table if table.num_rows == len(lines) else None
    return None


def plain_keys(table: pa.Table, is_harmless: Callable[[str], bool]) -> PlainKeys | None:
    """The keys of rows; none: the table has columns of other types, or such as may say more."""
    names = table.column_names
    if MEDIA not in names or not all(is_harmless(name) for name in names if name not in _KEY_TYPES):
        return None
    if any(table.schema.field(name).type not in types for name, types in _KEY_TYPES.items() if name in names):
        return None
    media = table.column(MEDIA).combine_chunks()
    is_plain = _are_paths(media)
    prompts = [None] * len(table)
    if PROMPT in names and table.column(PROMPT).null_count < len(table):
        prompts = [prompt if prompt and prompt.strip() else None for prompt in table.column(PROMPT).to_pylist()]
    spans, are_spans = _spans(table)
    ids = table.column(ID).to_pylist() if ID in names else [None] * len(table)
    return PlainKeys(hashes_of(zip(media.to_pylist(), ids, spans, prompts, strict=True)), is_plain & are_spans)


def hashes_of_captions(lines: Sequence[bytes], made_by: str) -> np.ndarray | None:
    """The hashes of the keys of whole captions that were made so; none: some line has to be read by itself."""
    table = parsed_lines(lines, CAPTION_COLUMNS, others=False)
    if table is None or any(table.column(name).null_count for name in CAPTION_COLUMNS):
        return None
    keys = plain_keys(table.select([MEDIA, ID, SPAN, PROMPT]), lambda name: True)
    if keys is None or not keys.is_plain.all():
        return None
    return keys.hashes[[name == made_by for name in table.column("made_by").to_pylist()]]


def _are_paths(media: pa.StringArray) -> np.ndarray:
    """(N,) whether each is a path or a URL. Only those are looked at that begin as others could."""
    offsets = _offsets(media)
    has_text = np.diff(offsets) > 0
    starts = np.append(np.frombuffer(media.buffers()[2] or b"", np.uint8), np.uint8(0))[offsets[:-1]]
    is_path = np.isin(starts, _OF_PATHS) & has_text & _is_valid(media)
    for index in np.flatnonzero(~is_path & has_text).tolist():
        name = media[index].as_py()
        is_path[index] = name is not None and name[:5].lower() not in NOT_PATHS and bool(name.strip())
    return is_path


def _spans(table: pa.Table) -> tuple[Sequence[tuple[float, float | None] | None], np.ndarray]:
    """The part of each row, and whether it is one, or plainly none."""
    if SPAN not in table.column_names or (column := table.column(SPAN)).null_count == len(table):
        return [None] * len(table), np.ones(len(table), bool)
    spans = column.combine_chunks()
    given, offsets, times = _is_valid(spans), _offsets(spans), spans.values
    values = np.frombuffer(times.buffers()[1] or b"", np.float64)[times.offset :][: len(times)]
    values = np.append(np.where(_is_valid(times), values, np.nan), [np.nan, np.nan])
    is_pair = given & (np.diff(offsets) == 2)
    at = np.where(is_pair, offsets[:-1], len(values) - 2)
    starts, ends = values[at], np.where(np.isinf(values[at + 1]), np.nan, values[at + 1])
    is_span = is_pair & (starts >= 0) & (np.isnan(ends) | (starts < ends))
    if is_span.all() and not np.isnan(ends).any():
        return [*zip(starts.tolist(), ends.tolist(), strict=True)], is_span
    pairs = zip(starts.tolist(), ends.tolist(), given.tolist(), strict=True)
    return [(a, b if b == b else None) if there else None for a, b, there in pairs], is_span | ~given


def _offsets(array: pa.StringArray | pa.ListArray) -> np.ndarray:
    """(N + 1,) where the elements begin and end. By the buffer: `to_numpy` would import pandas."""
    return np.frombuffer(array.buffers()[1], np.int32)[array.offset :][: len(array) + 1].astype(np.int64)


def _is_valid(array: pa.Array) -> np.ndarray:
    if array.null_count == 0:
        return np.ones(len(array), bool)
    bits = np.frombuffer(array.buffers()[0], np.uint8)
    return np.unpackbits(bits, bitorder="little")[array.offset :][: len(array)].astype(bool)
