"""The original's ids and labels, for every record that it accepted."""

import json
from pathlib import Path

import numpy as np
import pytest

from aurora_cli.data.annotations.files import raw_records
from aurora_cli.data.token_store.columns import EncodedRecords
from aurora_cli.data.tokenization.encoder import Encoder
from aurora_cli.data.tokenization.tokenizer import load_tokenizer

FOLDER = Path(__file__).parent / "tokenize"
RECORDS = [json.loads(line) for line in (FOLDER / "records.jsonl").read_text().splitlines()]
EXPECTED = {case["name"]: case for case in map(json.loads, (FOLDER / "expected.jsonl").read_text().splitlines())}
BETTER = {"multi_image_2", "missing_id", "system_role"}
"""Where the original crashed or dropped the record, and this does not."""
DEPARTURES = {
    "special_strings": ("special_token", "its words would become the tokens that begin and end texts"),
    "empty_answer": ("empty_answer", "it would teach to end at once where an answer belongs"),
}
"""Records that the original accepted and this rejects: the reason in `rejected.jsonl`, and why it is so."""


@pytest.fixture(scope="module")
def columns() -> EncodedRecords:
    encoder = Encoder(load_tokenizer(FOLDER / "mistral_v1"), "vicuna", max_length=4096, frames=8)
    return encoder.encode(raw_records(FOLDER / "records.jsonl"), "records.jsonl", images_are_video=False)


@pytest.fixture(scope="module")
def encoded(columns) -> dict:
    ends = np.cumsum(columns.length)
    spans = [slice(end - length, end) for end, length in zip(ends, columns.length, strict=True)]
    rows = zip(columns.id, columns.image, spans, strict=True)
    return {
        name: (image, columns.input_ids[span].tolist(), columns.labels[span].tolist()) for name, image, span in rows
    }


@pytest.mark.parametrize(("line", "record"), [*enumerate(RECORDS, start=1)], ids=[record["name"] for record in RECORDS])
def test_ids_and_labels_are_the_originals(encoded, columns, line, record):
    case = EXPECTED[record["name"]]
    if record["name"] in DEPARTURES:
        assert case["result"] == "ok"
        assert {each.line: each.reason for each in columns.rejected}[line] == DEPARTURES[record["name"]][0]
        return
    row = encoded.get(str(record.get("id", f"records.jsonl:{line}")))
    if case["result"] == "ok":
        image = [case["image"]] if isinstance(case["image"], str) else case["image"]
        assert row == (image, case["input_ids"], case["labels"])
    else:
        assert (row is not None) == (record["name"] in BETTER)


def test_two_images_in_a_turn_are_encoded_chunk_by_chunk(encoded):
    """USER:, picture, the doubled space between, picture, line break: each chunk of its own."""
    _, ids, labels = encoded["r20"]
    assert ids[:11] == [1, 2223, 725, 28747, 28705, -200, 259, -200, 28705, 13, 22095]
    assert labels[:11] == [-100] * 11
