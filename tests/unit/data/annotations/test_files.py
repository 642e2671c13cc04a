"""Annotation files give their records one by one, whatever is wrong with some of them."""

import gzip
import io
import json
from collections import deque
from pathlib import Path

import pytest

from aurora_cli.data.annotations import files
from aurora_cli.data.annotations.files import array_elements, complete_utf8, is_annotation_file, raw_records
from aurora_cli.errors import DataError


def written(folder, name, content: bytes):
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def values(path):
    return [(record.line, json.loads(record.raw)) for record in raw_records(path)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines_are_counted_and_empty_ones_are_no_records(tmp_path, name):
    path = written(tmp_path, name, b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}\r\n{"a": 3}')
    assert values(path) == [(1, {"a": 1}), (4, {"a": 2}), (5, {"a": 3})]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_elements_of_an_array_are_records(tmp_path, name):
    records = [{"id": index, "text": 'é\u2028\U0001f600]},{[\\" ' * index} for index in range(50)]
    path = written(tmp_path, name, b"\xef\xbb\xbf \n" + json.dumps(records, ensure_ascii=False, indent=1).encode())
    assert values(path) == list(enumerate(records, start=1))


def test_a_json_file_may_hold_an_object_a_line(tmp_path):
    assert values(written(tmp_path, "a.json", b'{"a": 1}\n{"a": 2}\n')) == [(1, {"a": 1}), (2, {"a": 2})]


def test_arrays_are_read_through_a_small_window(monkeypatch):
    monkeypatch.setattr(files, "READ_SIZE", 7)
    records = [{"id": index, "text": "ä€\U0001f600" * index} for index in range(30)] + [12345678901, "x" * 100, None]
    stream = io.BytesIO(json.dumps(records, ensure_ascii=False).encode())
    assert [json.loads(element.raw) for element in array_elements(stream)] == records


def test_a_damaged_element_harms_only_itself():
    stream = io.BytesIO(b'[{"a": 1}, {"a": oops, "b": [}, {"a": 2}, {"a": "\xff"}, {"a": 3},]')
    raws = [element.raw for element in array_elements(stream)]
    assert [raws[0], raws[2], raws[4]] == [b'{"a": 1}', b'{"a": 2}', b'{"a": 3}']
    assert raws[3] == b'{"a": "\xff"}'
    assert len(raws) == 5


@pytest.mark.parametrize("content", [b'[{"a": 1}, {"a"', b'[{"a": 1},', b'[{"a": 1}', b"["])
def test_an_array_that_does_not_end_shows_a_record_to_reject(content):
    last = list(array_elements(io.BytesIO(content)))[-1]
    with pytest.raises(json.JSONDecodeError):
        json.loads(last.raw)


@pytest.mark.slow
def test_damaged_compression_names_the_file_after_the_records_before_it(tmp_path):
    content = b"".join(b'{"a": "%d"}\n' % (index**7) for index in range(100_000))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(content)[:-100_000])
    records = raw_records(path)
    assert [next(records).line for _ in range(1_000)] == list(range(1, 1_001))
    with pytest.raises(DataError, match=r"a\.jsonl\.gz: cannot be read after record"):
        deque(records, maxlen=0)


def test_the_bytes_of_the_file_are_told_once(tmp_path):
    path = written(tmp_path, "a.jsonl", b'{"a": 1}\n' * 1_000)
    advanced = []
    list(raw_records(path, advanced.append))
    assert sum(advanced) == path.stat().st_size


@pytest.mark.parametrize("text", ["a", "é", "€", "\U0001f600"])
def test_characters_that_are_cut_off_wait_for_their_rest(text):
    data = b"xy" + text.encode()
    assert complete_utf8(data) == len(data)
    for cut in range(3, len(data)):
        assert complete_utf8(data[:cut]) == 2


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("llava_mix.jsonl", True),
        ("a.json.gz", True),
        ("rejected.jsonl", False),
        (".spent.jsonl", False),
        ("a.txt", False),
    ],
)
def test_what_steps_write_about_their_own_work_is_no_annotation(name: str, is_one: bool) -> None:
    assert is_annotation_file(Path("data/language/llava_mix") / name) == is_one
