"""A file that does not hold its records line by line, or in an array, is named in one sentence with what to type."""

import gzip
import json
import re
import shlex
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from aurora_cli.data.annotations import file_forms
from aurora_cli.data.annotations.file_forms import form_of
from aurora_cli.data.annotations.files import check_records, raw_records
from aurora_cli.errors import EXIT_DATA, DataError

TURNS = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A circle."}]
RECORD = {"id": 1, "image": "a.jpg", "conversations": TURNS}
LINE = json.dumps(RECORD)
PRETTY = json.dumps(RECORD, indent=2)
COCO = {"info": {}, "images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": "A circle."}]}
BY_ID = {"v_1": {"duration": 3.0, "timestamps": [[0, 1]], "sentences": ["A."]}, "v_2": {"duration": 2.0}}


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.jsonl", f"{LINE}\n{LINE}\n", "lines"),
        ("a.jsonl", f"\n  \n{LINE}", "lines"),
        ("a.json", f"{LINE}\n{LINE}\n", "lines"),
        ("a.json", f"[{LINE}, {LINE}]", "array"),
        ("a.json", "\ufeff [\n" + PRETTY + "]", "array"),
        ("a.jsonl", '{"id": 1, oops\n' + LINE, "lines"),
        ("a.jsonl", '{"id": 1, "conversations": [\n' + LINE, "lines"),
        ("a.jsonl", "oops\n" + LINE, "lines"),
        ("a.jsonl", '[{"from": "human"}]\n[{"from": "human"}]\n', "lines"),
        ("a.jsonl", '{"text": "no record, and none around others"}\n', "lines"),
        ("a.jsonl", json.dumps(COCO) + "\n" + LINE, "lines"),
        ("a.jsonl", "", "lines"),
        ("a.json", "", "lines"),
    ],
)
def test_records_are_on_lines_or_in_an_array(tmp_path, name, content, form):
    assert form_of(written(tmp_path, name, content)) == form
    assert form_of(written(tmp_path, f"{name}.gz", content)) == form


def test_of_an_array_on_one_line_no_more_than_the_beginning_is_read(tmp_path):
    path = written(tmp_path, "a.json", f"[{LINE}, {json.dumps('a' * 16 * file_forms.HEAD)}]")
    tracemalloc.start()
    form = form_of(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert form == "array"
    assert most < 4 * file_forms.HEAD


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (json.dumps(COCO), "is one JSON object with `images` and `annotations`, as COCO's"),
        (json.dumps(COCO, indent=1), "is one JSON object with `images` and `annotations`, as COCO's"),
        (json.dumps({"data": [RECORD]}), "is one JSON object with its records under `data`"),
        (json.dumps({"version": 1, "data": [RECORD]}, indent=4), "is one JSON object with its records under `data`"),
        (json.dumps(BY_ID), "is one JSON object with an entry for each id (`v_1`), as ActivityNet's"),
        (json.dumps({"train": [RECORD], "test": [RECORD]}), "is one JSON object with `train`, `test`"),
        (PRETTY, "holds records over several lines each"),
        (f"{PRETTY}\n{PRETTY}\n", "holds records over several lines each"),
        (LINE.encode("utf-16"), "is text in UTF-16"),
        (LINE.encode("utf-16-le"), "is text in UTF-16"),
        (LINE.encode("utf-16-be"), "is text in UTF-16"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
        ("\n<!DOCTYPE html>\n<html>", "is a web page"),
        (b"PAR1\0\0", "is a Parquet table"),
        (b"PK\x03\x04\0", "is a zip archive"),
        (gzip.compress(b"x", mtime=0), "is compressed by gzip"),
    ],
)
def test_what_is_not_read_is_named_in_one_sentence(tmp_path, name, content, what):
    path = written(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        list(raw_records(path))
    assert caught.value.message.startswith(f"{path}: {what}")
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == EXIT_DATA
    assert caught.value.hint


def test_an_array_in_a_jsonl_is_named(tmp_path):
    for text in (f"[{LINE}, {LINE}]", f"[\n{PRETTY}\n]"):
        path = written(tmp_path, "a.jsonl", text)
        with pytest.raises(
            DataError, match=r"holds one array of records, where a \.jsonl has a record a line"
        ) as caught:
            form_of(path)
        assert caught.value.hint.startswith(f"mv {path} {tmp_path / 'a.json'} ")


def test_an_object_beyond_what_is_looked_at_is_named_by_its_first_keys(tmp_path, monkeypatch):
    monkeypatch.setattr(file_forms, "HEAD", 200)
    many = {"info": {"year": 2014}, "annotations": [{"id": number, "caption": "A."} for number in range(100)]}
    with pytest.raises(DataError, match=r"one JSON object over many lines with `info`, .*`annotations`"):
        form_of(written(tmp_path, "a.json", json.dumps(many, indent=2)))
    long = json.dumps({**RECORD, "note": "x" * 500}, indent=2)
    with pytest.raises(DataError, match="holds records over several lines each"):
        form_of(written(tmp_path, "a.jsonl", f"{long}\n{long}"))
    assert form_of(written(tmp_path, "b.jsonl", json.dumps({**RECORD, "note": "x" * 500}) + "\n" + LINE)) == "lines"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"data": [RECORD, RECORD]}, [RECORD, RECORD]),
        ({"v_1": {"conversations": TURNS}, "v_2": {}}, [{"id": "v_1", "conversations": TURNS}, {"id": "v_2"}]),
    ],
)
def test_what_is_to_be_typed_makes_a_file_that_is_read(tmp_path, content, expected):
    with pytest.raises(DataError) as caught:
        form_of(written(tmp_path, "it's.json", json.dumps(content)))
    typed = re.sub(r"^python3", sys.executable, caught.value.hint)
    subprocess.run(["bash", "-c", typed], check=True)
    assert [json.loads(record.raw) for record in raw_records(tmp_path / "it's.records.jsonl")] == expected


@pytest.mark.parametrize(
    "content",
    [
        COCO,
        BY_ID,
        {"videos": [{"video_id": "video0"}], "sentences": [{"video_id": "video0", "caption": "A."}]},
        {"database": {"v": {"annotations": [{"segment": [0, 1], "sentence": "A."}]}}},
    ],
)
def test_objects_that_import_reads_are_named_so(tmp_path, content):
    """It does: tests/unit/pipeline/import_data imports each of them."""
    path = written(tmp_path, "it's.json", json.dumps(content))
    with pytest.raises(DataError, match="is one JSON object") as caught:
        form_of(path)
    assert caught.value.hint == f"aurora import {shlex.quote(str(path))}"


CAPTIONED = {"media": "new/a.jpg", "kind": "image", "caption": "A cat.", "frames": 1, "made_by": "ab04"}
"""A line of `aurora caption --output`."""


@pytest.mark.parametrize("count", [1, 2])
def test_captions_of_aurora_caption_are_for_import(count, tmp_path):
    path = written(tmp_path, "it's.jsonl", f"{json.dumps(CAPTIONED)}\n" * count)
    with pytest.raises(DataError, match="holds captions of `aurora caption`") as caught:
        check_records(path)
    assert caught.value.hint == f"aurora import {shlex.quote(str(path))}"
    check_records(written(tmp_path, "b.jsonl", f'{{"media": "a.jpg", "caption": "A."}}\n{LINE}\n'))


@pytest.mark.parametrize("text", [f"{LINE},\n{LINE},\n", f"{LINE} ,\r\n{LINE}\r\n"])
def test_commas_behind_records_are_named(tmp_path, text):
    with pytest.raises(DataError, match="has a comma after each record") as caught:
        form_of(written(tmp_path, "a.jsonl", text))
    subprocess.run(["bash", "-c", caught.value.hint], check=True)
    assert [json.loads(record.raw) for record in raw_records(tmp_path / "a.records.jsonl")] == [RECORD, RECORD]


@pytest.mark.parametrize(
    "text", ["image,caption\na.jpg,A cat.\n", "- id: 1\n  image: a.jpg\n", "a.jpg\tA.\nb.jpg\tB.\n"]
)
def test_a_text_that_is_not_json_is_named_once(tmp_path, text):
    with pytest.raises(DataError, match=r"is text that begins with '"):
        form_of(written(tmp_path, "a.jsonl", text))
    assert form_of(written(tmp_path, "b.jsonl", "oops\n" + text + LINE)) == "lines"
    assert form_of(written(tmp_path, "c.jsonl", "1\n2\n")) == "lines", "records of no form, each rejected"


def test_what_is_to_be_typed_for_one_record_and_for_utf16(tmp_path):
    for name, content in (("a.jsonl", PRETTY.encode()), ("b.jsonl", LINE.encode("utf-16-le"))):
        with pytest.raises(DataError) as caught:
            form_of(written(tmp_path, name, content))
        subprocess.run(["bash", "-c", re.sub(r"^python3", sys.executable, caught.value.hint)], check=True)
        (record,) = raw_records(tmp_path / name.replace(".jsonl", ".records.jsonl"))
        assert json.loads(record.raw) == RECORD
