"""Keys of rows and captions by the column, for lists of so many that to look at each takes too long.

Only what a row plainly says is taken from its columns: a medium by a path or URL, an id, a span of two numbers, a
question. Whatever else a row may say has to be read by `rows`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.json

from aurora_cli.captioning.job.caption_keys import NOT_PATHS
from aurora_cli.captioning.job.key_hashes import NOTHING, NUMBER, OPEN, PAIR, TEXT, Spans, Texts, hashes_of_columns
from aurora_cli.captioning.job.stored_lines import LineBlock

MEDIA, ID, SPAN, PROMPT, MADE_BY = "media", "id", "span", "prompt", "made_by"
_SPANS = pa.list_(pa.float64())
_KEY_TYPES = {MEDIA: [pa.string()], ID: [pa.string(), pa.int64()], SPAN: [_SPANS], PROMPT: [pa.string()]}
CAPTION_COLUMNS = {
    **dict.fromkeys(("kind", "caption", MADE_BY), pa.string()),
    **dict.fromkeys(("frames", "visual_tokens", "prompt_tokens", "new_tokens"), pa.int64()),
    "seconds": pa.float64(),
}
"""What each caption has beside its key."""
_PLAINLY = np.zeros(256, bool)
_PLAINLY[np.frombuffer(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./", np.uint8)] = True
"""What a text begins with that is not empty to a reader."""


class PlainKeys(NamedTuple):
    """The keys of some rows."""

    hashes: np.ndarray
    """(N,) of HASH."""
    is_plain: np.ndarray
    """(N,) whether the row says no more than that; the others' hashes mean nothing."""


def parsed_lines(lines: LineBlock, columns: dict[str, pa.DataType], *, others: bool) -> pa.Table | None:
    """The columns of JSON lines; none: some line is no object, or has another type of value.

    `others`: those that are not asked for come too.
    """
    if not lines.are_objects:
        return None
    raw = pa.py_buffer(lines.raw)
    block = pyarrow.json.ReadOptions(use_threads=False, block_size=max(len(raw) + 1, 1 << 10))
    for id_type in _KEY_TYPES[ID]:
        key = {MEDIA: pa.string(), ID: id_type, SPAN: _SPANS, PROMPT: pa.string()}
        schema = pa.schema([*columns.items(), *key.items()])
        options = pyarrow.json.ParseOptions(schema, unexpected_field_behavior="infer" if others else "ignore")
        try:
            table = pyarrow.json.read_json(pa.BufferReader(raw), block, options, pa.system_memory_pool())
        except pa.ArrowException:
            continue
        return table if table.num_rows == lines.count else None
    return None


def plain_keys(table: pa.Table, is_harmless: Callable[[str], bool]) -> PlainKeys | None:
    """The keys of rows; none: the table has columns of other types, or such as may say more."""
    names = table.column_names
    if MEDIA not in names or not all(is_harmless(name) for name in names if name not in _KEY_TYPES):
        return None
    if any(table.schema.field(name).type not in types for name, types in _KEY_TYPES.items() if name in names):
        return None
    media = _texts(table.column(MEDIA))
    ids = _texts(table.column(ID)) if ID in names and table.column(ID).null_count < len(table) else None
    prompts = None
    if PROMPT in names and table.column(PROMPT).null_count < len(table):
        prompts = _texts(table.column(PROMPT))
        says = _says_something(prompts)
        prompts = prompts._replace(lengths=prompts.lengths * says, kinds=prompts.kinds * says)
    spans, are_spans = _spans(table)
    return PlainKeys(hashes_of_columns(media, ids, spans, prompts), _are_paths(media) & are_spans)


def hashes_of_captions(lines: LineBlock, made_by: str) -> np.ndarray | None:
    """The hashes of the keys of whole captions that were made so; none: some line has to be read by itself."""
    table = parsed_lines(lines, CAPTION_COLUMNS, others=False)
    if table is None or any(table.column(name).null_count for name in CAPTION_COLUMNS):
        return None
    keys = plain_keys(table.select([MEDIA, ID, SPAN, PROMPT]), lambda name: True)
    if keys is None or not keys.is_plain.all():
        return None
    makers = table.column(MADE_BY)
    if len(once := makers.unique()) == 1:
        return keys.hashes if once[0].as_py() == made_by else keys.hashes[:0]
    return keys.hashes[[name == made_by for name in makers.to_pylist()]]


def _texts(column: pa.ChunkedArray) -> Texts:
    array = column.combine_chunks()
    kind = TEXT
    if array.type == pa.int64():
        array, kind = array.cast(pa.string()), NUMBER
    offsets, is_given = _offsets(array), _is_valid(array)
    data = np.frombuffer(array.buffers()[2] or b"", np.uint8)
    return Texts(data, offsets[:-1], np.diff(offsets) * is_given, np.where(is_given, kind, NOTHING))


def _are_paths(media: Texts) -> np.ndarray:
    """(N,) whether each is a path or a URL."""
    is_path = _says_something(media)
    longest = len(NOT_PATHS[0])
    rows = np.flatnonzero(media.lengths >= longest)
    starts = media.data[media.starts[rows, None] + np.arange(longest)] | np.uint8(ord("a") ^ ord("A"))
    for other in NOT_PATHS:
        is_path[rows[(starts == np.frombuffer(other.encode(), np.uint8)).all(axis=1)]] = False
    return is_path


def _says_something(texts: Texts) -> np.ndarray:
    """(N,) whether each is more than white space. Only those are looked at that begin as white space could."""
    found = texts.lengths > 0
    found[found] = _PLAINLY[texts.data[texts.starts[found]]]
    for index in np.flatnonzero(~found & (texts.lengths > 0)).tolist():
        start = texts.starts[index]
        found[index] = bool(
            texts.data[start : start + texts.lengths[index]].tobytes().decode("utf-8", "replace").strip()
        )
    return found


def _spans(table: pa.Table) -> tuple[Spans | None, np.ndarray]:
    """The part of each row, and whether it is one, or plainly none."""
    if SPAN not in table.column_names or (column := table.column(SPAN)).null_count == len(table):
        return None, np.ones(len(table), bool)
    spans = column.combine_chunks()
    given, offsets, times = _is_valid(spans), _offsets(spans), spans.values
    values = np.frombuffer(times.buffers()[1] or b"", np.float64)[times.offset :][: len(times)]
    values = np.append(np.where(_is_valid(times), values, np.nan), [np.nan, np.nan])
    is_pair = given & (np.diff(offsets) == 2)
    at = np.where(is_pair, offsets[:-1], len(values) - 2)
    starts, ends = values[at], np.where(np.isinf(values[at + 1]), np.nan, values[at + 1])
    is_span = is_pair & (starts >= 0) & (np.isnan(ends) | (starts < ends))
    kinds = np.where(given, np.where(np.isnan(ends), OPEN, PAIR), NOTHING)
    return Spans(np.nan_to_num(starts), np.nan_to_num(ends), kinds), is_span | ~given


def _offsets(array: pa.StringArray | pa.ListArray) -> np.ndarray:
    """(N + 1,) where the elements begin and end. By the buffer: `to_numpy` would import pandas."""
    return np.frombuffer(array.buffers()[1], np.int32)[array.offset :][: len(array) + 1].astype(np.int64)


def _is_valid(array: pa.Array) -> np.ndarray:
    if array.null_count == 0:
        return np.ones(len(array), bool)
    bits = np.frombuffer(array.buffers()[0], np.uint8)
    return np.unpackbits(bits, bitorder="little")[array.offset :][: len(array)].astype(bool)
