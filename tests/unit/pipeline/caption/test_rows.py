"""`aurora caption --manifest`: what rows of a list say, and what becomes of those that say nothing that is read."""

import base64
import csv
import json
import math
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aurora_cli.captioning.job.rows import Row, RowReader
from aurora_cli.captioning.result import Uncaptioned
from aurora_cli.errors import DataError, UsageError

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "lists").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "lists" / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    (tmp_path / "lists" / "walk").mkdir()
    return tmp_path


def read(folder: Path, lines: list[object], **how) -> list[Row | Uncaptioned]:
    path = folder / "lists" / "m.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return [*RowReader(path, folder, **how)]


def test_media_lie_beside_the_list_or_else_in_the_workspace_and_keep_the_names_they_have_there(folder):
    rows = read(folder, [{"media": name} for name in ("a.png", "b.png", str(folder / "b.png"), "c.mp4", "walk")])
    assert [(row.medium.name, row.medium.path, row.medium.kind) for row in rows if isinstance(row, Row)] == [
        ("a.png", folder / "lists" / "a.png", "image"),
        ("b.png", folder / "b.png", "image"),
        (str(folder / "b.png"), folder / "b.png", "image"),
        ("c.mp4", folder / "lists" / "c.mp4", "video"),
        ("walk", folder / "lists" / "walk", "video"),
    ]


@pytest.mark.parametrize(
    ("said", "span"),
    [
        ({}, None),
        ({"span": None}, None),
        ({"span": [3, 7.5]}, (3.0, 7.5)),
        ({"span": [3, None]}, (3.0, math.inf)),
        ({"span": {"start": 3, "end": 7.5}}, (3.0, 7.5)),
        ({"span": "3-7.5"}, (3.0, 7.5)),
        ({"span": "(0:03, 1:07.5)"}, (3.0, 67.5)),
        ({"start": 3, "end": "00:01:00"}, (3.0, 60.0)),
        ({"end": 2}, (0.0, 2.0)),
        ({"timestamps": [1, 2]}, (1.0, 2.0)),
    ],
)
def test_a_span_is_read_in_any_of_the_ways_of_annotations(folder, said, span):
    (row,) = read(folder, [{"media": "c.mp4", **said}])
    assert isinstance(row, Row)
    assert row.span == span


def test_media_are_named_as_records_name_them(folder):
    frames = ["a.png", str(folder / "b.png"), "file:///x/c%20d.png"]
    rows = read(
        folder,
        [
            {"media": PIXEL},
            {"media": {"bytes": PIXEL.partition(",")[2], "path": "gone.gif"}},
            {"media": {"path": "c.mp4", "start": 3, "end": 5}},
            {"media": [{"url": "a.png"}]},
            {"media": f"file://{folder}/b.png"},
            {"media": frames},
        ],
    )
    media = [row.medium for row in rows if isinstance(row, Row)]
    assert len(media) == len(rows)
    assert media[0] == media[1], "the same image"
    assert media[0].content == base64.b64decode(PIXEL.partition(",")[2])
    assert re.fullmatch(r"data:image/gif;sha256,[0-9a-f]{16}", media[0].name)
    assert (media[2].name, rows[2].span) == ("c.mp4", (3.0, 5.0))
    assert [each.path for each in media[3:5]] == [folder / "lists" / "a.png", folder / "b.png"]
    assert (media[5].kind, media[5].frames) == (
        "video",
        (folder / "lists" / "a.png", folder / "b.png", Path("/x/c d.png")),
    )
    (other,) = read(folder, [{"media": [frames[0], frames[0], frames[2]]}])
    assert other.medium.name != media[5].name, "else one of them would have no caption"


def test_a_bad_row_is_listed_with_file_and_line_and_the_others_are_read(folder):
    bad = [
        ({"media": 3}, "media: it is 3; a path was expected"),
        ({"image": "a.png"}, "media: it is missing; a path was expected"),
        ({"media": " "}, "media: it is ' '; a path was expected"),
        ({"media": "c.mp4", "span": [5, 3]}, "from 5 to 3 s"),
        ({"media": "c.mp4", "span": 5}, "span: it is 5; [from, to] in seconds was expected"),
        ({"media": "c.mp4", "start_frame": 5}, "start_frame: 5: no single span in seconds"),
        ({"media": "a.png", "prompt": 3}, "prompt: it is 3; a text was expected"),
        (
            {"media": "a.png", "prompt": "<image> What?"},
            "prompt: holds <image>, which stands for a medium in annotations",
        ),
        ({"media": "https://x.org/a.png"}, "https://x.org/a.png: is on the network; media are read from this machine"),
        ({"media": "data:image/gif;base64,AAAA"}, "media: 'data:image/gif;base64,AAAA': it holds no image"),
        ({"media": ["a.png", 3]}, "media is ['a.png', 3]"),
        ({"media": ["a.png", "https://x.org/a.png"]}, "https://x.org/a.png"),
        ({"media": ["a.png", PIXEL]}, "images that are written out, in a list of frames"),
        ({"media": {"width": 3}}, "media: it is {'width': 3}; a path was expected in it"),
        ({"media": {"bytes": [137, 80]}}, "bytes of media are no image in base64"),
        ({"media": []}, "media: it is []; a path was expected"),
        ({"media": "a\0b"}, "a path was expected"),
        ({"media": "x" * 5000}, "media: no path"),
        ({"media": "a.png", "id": "\ud800"}, "its text is not UTF-8"),
        ("[1]", "list"),
        ("{", "Expecting property name"),
    ]
    rows = read(folder, [{"media": "a.png"}, *(line for line, _ in bad), {"media": "b.png"}])
    assert [type(row) for row in rows] == [Row, *[Uncaptioned] * len(bad), Row]
    for line, (row, (_, reason)) in enumerate(zip(rows[1:], bad, strict=False), start=2):
        assert isinstance(row, Uncaptioned)
        assert (row.file, row.line) == (str(folder / "lists" / "m.jsonl"), line)
        assert reason in row.reason
        json.dumps(row.media, ensure_ascii=False).encode()


def test_csv_tsv_and_parquet_say_what_json_lines_say(folder):
    rows = [("a.png", 'x "1"', "", "What, then?"), ("c.mp4", "2", "1.5-3", ""), ("c.mp4", "", "", "One\nTwo")]
    names = ("media", "id", "span", "prompt")
    with open(folder / "lists" / "m.csv", "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([names, *rows])
    with open(folder / "lists" / "m.tsv", "w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([names, *rows])
    spans = pa.array([None, [1.5, 3.0], None], pa.list_(pa.float64()))
    columns = {name: [row[at] or None for row in rows] for at, name in enumerate(names)}
    pq.write_table(pa.table({**columns, "span": spans}), folder / "lists" / "m.parquet")
    expected = read(folder, [{**dict(zip(names, row, strict=True)), "id": row[1] or None} for row in rows])
    plain = [row._replace(line=0) for row in expected if isinstance(row, Row)]
    assert [row.span for row in plain] == [None, (1.5, 3.0), None]
    for name, lines in (("m.csv", [2, 3, 4]), ("m.tsv", [2, 3, 4]), ("m.parquet", [1, 2, 3])):
        found = [*RowReader(folder / "lists" / name, folder)]
        assert [row._replace(line=0) for row in found if isinstance(row, Row)] == plain
        assert [row.line for row in found] == lines
        assert RowReader(folder / "lists" / name, folder).count() == 3


def test_rows_of_a_table_that_are_none_are_listed_by_their_line(folder):
    (folder / "m.csv").write_bytes(b'media,prompt\n\na.png,\xff\nb.png,x,y\n"b.png"z,\nb.png\n')
    found = [*RowReader(folder / "m.csv", folder)]
    assert [(row.line, type(row)) for row in found] == [
        (3, Uncaptioned),
        (4, Uncaptioned),
        (5, Uncaptioned),
        (6, Row),
    ]


def test_ids_stay_numbers_or_words_and_unread_keys_are_counted(folder):
    path = folder / "lists" / "m.jsonl"
    rows = [{"media": "a.png", "id": 7, "image": "b.png", "fps": 2}, {"media": "a.png", "id": "7", "caption": "x"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reader = RowReader(path, folder)
    assert [row.id for row in reader] == [7, "7"]
    assert dict(reader.keys.warned) == {"image": 1, "fps": 1}


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("m.txt", b"a.png", UsageError, r"\.jsonl, .*\.csv, .*\.parquet are read"),
        ("m.csv", b"image,id\na.png,1\n", UsageError, "columns image, id; one called `media`"),
        ("m.csv", b"", UsageError, r"columns \(none\)"),
        ("m.jsonl", b'[{"media": "a.png"}]', DataError, "one array of records"),
        ("m.jsonl", b"PAR1 and so on", DataError, "is a Parquet table"),
        ("m.parquet", b"media\n", DataError, "not a readable Parquet file"),
        ("gone.jsonl", None, DataError, "there is no such file"),
    ],
)
def test_a_file_that_is_no_list_is_named_at_once(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        RowReader(tmp_path / name, tmp_path)


json_values = st.recursive(
    st.sampled_from([None, True, -1, 3, 1e400, math.nan, "", "3-5", "1:2", "\ud800", "a\0", "[,]", 10**400]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["start", "to", ""]), inner, max_size=3)
    ),
    max_leaves=5,
)
names = st.sampled_from(["media", "id", "span", "prompt", "start", "end", "timestamps", "segment"])


@pytest.mark.slow
@given(st.lists(st.dictionaries(names, json_values, max_size=6), max_size=4))
def test_whatever_a_row_holds_it_is_read_or_listed(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "wild.jsonl"
    path.write_text("".join(json.dumps({"media": None, **row}) + "\n" for row in rows))
    found = [*RowReader(path, path.parent)]
    assert [row.line for row in found] == [*range(1, len(rows) + 1)]


def test_a_list_of_one_row_is_a_list(folder):
    """An object on one line with a list of objects in it may be all records of a file in one; not with `media`."""
    (row,) = read(folder, [{"media": "a.png", "objects": [{"name": "cat"}]}])
    assert isinstance(row, Row)
