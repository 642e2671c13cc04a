"""The columns of the token store, and what makes a folder of them one that `datasets` reads, from 2.20 on.

`tests/golden/datasets_2_20` is what 2.20.0 itself writes for these columns; ours is the same to the byte.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from aurora_cli.data.token_store.media_keys import KEYS_TYPE
from aurora_cli.io.atomic import write_json
from aurora_cli.io.json_files import JsonObject

DATA_FILE = "data-{index:05d}-of-{count:05d}.arrow"
SHARD_DATA = DATA_FILE.format(index=0, count=1)
"""The one file of rows that a shard has."""
STATE_FILE = "state.json"
INFO_FILE = "dataset_info.json"

MANIFEST = "manifest.json"
SUMMARY_FILE = "summary.arrow"
MERGED_SUMMARY_FILE = "summary-{index:05d}-of-{count:05d}.arrow"
VIDEOS, TARGET_TOKENS = "clips", "taught"
"""Columns of the summary, under the names that they had in the first version."""
SUMMARY_NUMBERS = pa.schema({name: pa.int32() for name in ("length", "frames", "media", VIDEOS, TARGET_TOKENS)})
"""All columns of the summaries of schema 1."""
MEDIA_KEYS = "media_keys"
SUMMARY_SCHEMA = SUMMARY_NUMBERS.append(pa.field(MEDIA_KEYS, KEYS_TYPE))

VALUE_TYPES = {
    "id": pa.string(),
    "image": pa.list_(pa.string()),
    "video": pa.string(),
    "media_lengths": pa.list_(pa.int32()),
    "input_ids": pa.list_(pa.int32()),
    "labels": pa.list_(pa.int32()),
    "length": pa.int32(),
}


def feature(kind: pa.DataType) -> JsonObject:
    """How `datasets` writes a column's type. `Sequence` is the word that all its versions read; 4.0 writes `List`."""
    if pa.types.is_list(kind):
        return {"feature": feature(kind.value_type), "_type": "Sequence"}
    return {"dtype": str(kind), "_type": "Value"}


SPAN = "span"
"""Column of the part of its video that a row is about: two seconds, or null. Only in files with such a row."""


def schema_of(types: Mapping[str, pa.DataType]) -> pa.Schema:
    """The schema of columns, with what `datasets` writes about them."""
    features = {name: feature(kind) for name, kind in types.items()}
    return pa.schema(types, metadata={"huggingface": json.dumps({"info": {"features": features}})})


FEATURES = {name: feature(kind) for name, kind in VALUE_TYPES.items()}
ROW_SCHEMA = schema_of(VALUE_TYPES)
SPAN_TYPE = pa.list_(pa.float64())
SPAN_SCHEMA = schema_of({**VALUE_TYPES, SPAN: SPAN_TYPE})


def with_span_column(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch of rows as one of SPAN_SCHEMA."""
    if SPAN in batch.schema.names:
        return batch
    columns = [*batch.columns, pa.nulls(batch.num_rows, SPAN_TYPE)]
    return pa.RecordBatch.from_arrays(columns, schema=SPAN_SCHEMA)


def write_dataset_files(folder: Path, data_names: Sequence[str], fingerprint: str, *, spans: bool) -> None:
    """What makes a folder with Arrow files one that `datasets.load_from_disk` reads; `spans`: some have that column.

    `datasets` keeps what it computes from a set under its fingerprint: other rows need another one.
    """
    features = {**FEATURES, SPAN: feature(SPAN_TYPE)} if spans else FEATURES
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    state = {
        "_data_files": [{"filename": name} for name in data_names],
        "_fingerprint": fingerprint[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    write_json(folder / INFO_FILE, info)
    write_json(folder / STATE_FILE, state)
