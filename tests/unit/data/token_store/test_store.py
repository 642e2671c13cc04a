"""The token store: rows come back, and `datasets` of any version reads the folders."""

import json
import os
import pickle
import subprocess
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
import pytest

from aurora_cli.data.token_store import writer as writer_module
from aurora_cli.data.token_store.columns import EncodedRecords
from aurora_cli.data.token_store.schema import FEATURES, ROW_SCHEMA
from aurora_cli.data.token_store.store import open_store
from aurora_cli.data.token_store.writer import ShardWriter, row_batch, summary_batch
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import read_json, write_json
from tests.tokenizing import shard_manifest

GOLDEN = Path(__file__).parents[3] / "golden" / "datasets_2_20"
FIRST_VERSION = Path(__file__).parents[3] / "fixtures/workspace-0.1.0/tokenized/language/llava_mix/merged"
OTHER_DATASETS = os.environ.get("AURORA_DATASETS_PYTHON")


def encoded(start: int, count: int) -> EncodedRecords:
    """Row i has i % 4 images, or a video of 3, and i % 5 + 1 tokens."""
    indices = range(start, start + count)
    lengths = [index % 5 + 1 for index in indices]
    media = [[3] if index % 7 == 6 else [1] * (index % 4) for index in indices]
    tokens = np.concatenate([np.full(length, index, np.int32) for index, length in zip(indices, lengths, strict=True)])
    labels = np.where(np.arange(len(tokens)) % 2, tokens, -100).astype(np.int32)
    return EncodedRecords(
        id=[f"é{index}" for index in indices],
        image=[
            [f"{index}-{n}.jpg" for n in range(sum(lengths))] or None
            for index, lengths in zip(indices, media, strict=True)
        ],
        video=["c.mp4" if index % 7 == 5 else None for index in indices],
        media_lengths=media,
        length=lengths,
        target_tokens=[1] * count,
        input_ids=tokens,
        labels=labels,
        rejected=[],
    )


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_ROWS", 40)
    with ShardWriter(tmp_path) as writer:
        for start in range(0, 150, 30):
            batch = encoded(start, 30)
            writer.append(row_batch(batch), summary_batch(batch))
    shard_manifest(writer.rows, "data/x").write(tmp_path / "manifest.json")
    return open_store(tmp_path)


def test_rows_come_back_in_the_order_asked_for(store):
    order = [149, 0, 77, 77, 30]
    for index, row in zip(order, store.rows(order), strict=True):
        assert row.id == f"é{index}"
        assert row.input_ids.tolist() == [index] * (index % 5 + 1)
        assert row.input_ids.dtype == row.labels.dtype == np.int32
        assert row.media_lengths == ([3] if index % 7 == 6 else [1] * (index % 4))
        assert row.image == ([f"{index}-{n}.jpg" for n in range(sum(row.media_lengths))] or None)
    assert store.rows([]) == []
    with pytest.raises(IndexError, match="rows 0 to 149"):
        store.rows([150])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux says what is in memory of a file")
def test_of_a_store_that_is_read_row_by_row_only_the_last_rows_stay_in_memory(tmp_path):
    """A row of 1 MB may come with the 2 MB before and behind it, twice: ids and labels lie apart."""
    rows, tokens = 64, 1 << 17
    ids = np.ones(rows * tokens, np.int32)
    encoded = EncodedRecords(
        ["a"] * rows, [None] * rows, [None] * rows, [[]] * rows, [tokens] * rows, [tokens] * rows, ids, ids, []
    )
    with ShardWriter(tmp_path) as shard:
        shard.append(row_batch(encoded), summary_batch(encoded))
    shard_manifest(rows).write(tmp_path / "manifest.json")
    store = open_store(tmp_path)
    for number in range(rows):
        (row,) = store.rows([number])
        assert row.input_ids.sum() + row.labels.sum() == 2 * tokens
    assert 1 <= resident_mb(tmp_path / "data-00000-of-00001.arrow") <= 10


def resident_mb(path: Path) -> float:
    """Of the mappings of a file, what is in memory of this process."""
    found, is_of_file = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *values = line.split()
        if not name.endswith(":"):
            is_of_file = line.endswith(str(path))
        elif is_of_file and name == "Rss:":
            found += int(values[0])
    return found / 1024


def test_the_summary_counts_without_reading_tokens(store):
    (store.folder / "data-00000-of-00001.arrow").unlink()
    summary = store.summary()
    assert summary.length.tolist() == [index % 5 + 1 for index in range(150)]
    assert summary.videos.sum() == sum(index % 7 == 6 for index in range(150))
    assert summary.frames.tolist() == [3 if index % 7 == 6 else index % 4 for index in range(150)]


def test_media_keys_are_in_the_summary_and_those_of_earlier_summaries_come_from_the_names(store):
    def of(index: int) -> list[int]:
        row = store.rows([index])[0]
        return [crc32(name.encode()) for name in [*(row.image or ()), *([row.video] if row.video else ())]]

    expected = [of(index) for index in range(150)]
    offsets, keys = store.media_keys()
    assert [keys[a:b].tolist() for a, b in pairwise(offsets)] == expected
    path = store.folder / "summary.arrow"
    with pa.ipc.open_stream(pa.memory_map(str(path))) as stream:
        narrow = stream.read_all().drop_columns(["media_keys"])
    with pa.ipc.new_stream(store.folder / "narrow", narrow.schema) as written:
        written.write_table(narrow)
    (store.folder / "narrow").replace(path)
    again = open_store(store.folder)
    assert again.summary().length.tolist() == [index % 5 + 1 for index in range(150)]
    offsets, keys = again.media_keys()
    assert [keys[a:b].tolist() for a, b in pairwise(offsets)] == expected


def test_media_keys_of_what_the_first_version_wrote_are_read():
    store = open_store(FIRST_VERSION)
    offsets, keys = store.media_keys()
    rows = store.rows(range(store.num_rows))
    assert [keys[a:b].tolist() for a, b in pairwise(offsets)] == [
        [crc32(name.encode()) for name in row.image or ()] for row in rows
    ]
    assert len(keys)


def test_a_store_travels_to_another_process_by_its_folder(store):
    assert pickle.loads(pickle.dumps(store)).rows([5])[0].id == "é5"
    assert store.media_root(5) == "data/x"


def test_batches_are_joined_until_they_are_large(store):
    with pa.ipc.open_stream(pa.memory_map(str(store.folder / "data-00000-of-00001.arrow"))) as reader:
        assert [batch.num_rows for batch in reader] == [60, 60, 30]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_datasets_reads_the_folder(store):
    from datasets import load_from_disk

    dataset = load_from_disk(str(store.folder))
    assert dataset.num_rows == 150
    assert dataset[0]["image"] is None
    assert dataset[1] == {
        "id": "é1",
        "image": ["1-0.jpg"],
        "video": None,
        "media_lengths": [1],
        "input_ids": [1, 1],
        "labels": dataset[1]["labels"],
        "length": 2,
    }


def test_a_folder_is_what_datasets_2_20_writes_to_the_byte():
    """`golden/README.md` says how it was recorded, and that 2.20.0 was seen to read our folders."""
    info = read_json(GOLDEN / "dataset_info.json")
    assert info["features"] == FEATURES
    with pa.ipc.open_stream(GOLDEN / "data-00000-of-00001.arrow") as theirs:
        assert theirs.schema.equals(ROW_SCHEMA, check_metadata=True)
        assert theirs.schema.metadata == ROW_SCHEMA.metadata


def test_the_files_beside_the_rows_have_the_keys_that_datasets_2_20_writes(store):
    for name in ("dataset_info.json", "state.json"):
        theirs, ours = read_json(GOLDEN / name), read_json(store.folder / name)
        assert {**ours, "_fingerprint": ""} == {**theirs, "_fingerprint": ""}
    assert len(read_json(store.folder / "state.json")["_fingerprint"]) == 16


@pytest.mark.skipif(OTHER_DATASETS is None, reason="AURORA_DATASETS_PYTHON names no Python with another datasets")
def test_another_version_of_datasets_reads_the_folder(store):
    code = "import json, sys; from datasets import load_from_disk; print(json.dumps(load_from_disk(sys.argv[1])[:]))"
    command = [OTHER_DATASETS, "-c", code, str(store.folder)]
    read = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rows = store.rows(range(150))
    assert read["id"] == [row.id for row in rows]
    assert read["image"] == [row.image for row in rows]
    assert read["media_lengths"] == [row.media_lengths for row in rows]
    assert read["input_ids"] == [row.input_ids.tolist() for row in rows]
    assert read["labels"] == [row.labels.tolist() for row in rows]


def with_spans(batch: EncodedRecords) -> EncodedRecords:
    """Row i is about seconds i to i + 0.5 if i is a multiple of 3."""
    numbers = [int(name.removeprefix("é")) for name in batch.id]
    return batch._replace(span=[(float(n), n + 0.5) if n % 3 == 0 else None for n in numbers])


@pytest.fixture
def store_with_spans(tmp_path, monkeypatch):
    """The first 90 rows are written before one with a span comes."""
    monkeypatch.setattr(writer_module, "BATCH_ROWS", 40)
    with ShardWriter(tmp_path) as writer:
        for start in range(0, 150, 30):
            batch = encoded(start, 30)
            batch = with_spans(batch) if start == 90 else batch
            writer.append(row_batch(batch), summary_batch(batch))
    shard_manifest(writer.rows, "data/x").write(tmp_path / "manifest.json")
    return open_store(tmp_path)


def test_rows_have_spans_from_the_first_of_the_shard_on(store_with_spans, tmp_path):
    rows = store_with_spans.rows(range(150))
    assert [row.span for row in rows] == [
        (float(n), n + 0.5) if 90 <= n < 120 and n % 3 == 0 else None for n in range(150)
    ]
    assert [row.input_ids.tolist() for row in rows] == [[n] * (n % 5 + 1) for n in range(150)]
    assert not list(tmp_path.glob("*.narrow"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_datasets_reads_spans(store_with_spans):
    from datasets import load_from_disk

    dataset = load_from_disk(str(store_with_spans.folder))
    assert (dataset[0]["span"], dataset[93]["span"]) == (None, [93.0, 93.5])


def test_a_store_without_spans_has_the_bytes_that_it_always_had(store):
    with pa.ipc.open_stream(pa.memory_map(str(store.folder / "data-00000-of-00001.arrow"))) as reader:
        assert reader.schema.equals(ROW_SCHEMA, check_metadata=True)
    assert {row.span for row in store.rows(range(150))} == {None}


def test_a_file_of_other_columns_is_refused(store):
    name = store.folder / "data-00000-of-00001.arrow"
    table = pa.table({"id": ["a"]})
    with pa.OSFile(str(name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    with pytest.raises(DataError, match="has other columns than id, image, video"):
        open_store(store.folder)


def test_summaries_come_in_pieces_that_make_the_summary(store):
    pieces = list(store.summaries())
    assert [len(piece.length) for piece in pieces] == [60, 60, 30]
    for whole, parts in zip(store.summary(), zip(*pieces, strict=True), strict=True):
        assert whole.tolist() == np.concatenate(parts).tolist()
        assert whole.dtype == np.int32


def test_an_empty_shard_is_a_store_of_no_rows(tmp_path):
    with ShardWriter(tmp_path):
        pass
    shard_manifest(0).write(tmp_path / "manifest.json")
    store = open_store(tmp_path)
    assert (store.num_rows, len(store.summary().length)) == (0, 0)


def test_what_is_no_store_or_damaged_is_named(tmp_path, store):
    with pytest.raises(DataError, match=r"manifest\.json is missing"):
        open_store(tmp_path / "elsewhere")
    shard_manifest(149).write(store.folder / "manifest.json")
    with pytest.raises(DataError, match="holds 150 rows, its manifest says 149"):
        open_store(store.folder)
    write_json(store.folder / "manifest.json", {"schema_version": 3, "rows": 150})
    with pytest.raises(DataError, match="has schema 3"):
        open_store(store.folder)
    data = store.folder / "data-00000-of-00001.arrow"
    data.write_bytes(data.read_bytes()[:600])
    shard_manifest(150).write(store.folder / "manifest.json")
    with pytest.raises(DataError, match=r"arrow: cannot be read|holds"):
        open_store(store.folder)
