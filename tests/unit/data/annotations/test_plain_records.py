"""Records in which nothing is unusual are read by a shorter way: what comes out is what the long way gives."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aurora_cli.data.annotations.forms.llava import SCHEMA
from aurora_cli.data.annotations.keys import KeyCounts
from aurora_cli.data.annotations.records import Record, Rejection, loaded
from aurora_cli.data.annotations.schemas import SCHEMAS, record_of

KNOWN = sorted({name for key in SCHEMA.keys.keys for name in key.names} - {"conversations"})
OTHERS = [
    "width",
    "source",
    "startFrame",
    "start_index",
    "moment",
    "img_file",
    "clip_start_sec",
    "messages",
    "captions",
]
PATHS = st.sampled_from(["a.jpg", "a.mp4", "C:/a.jpg", "file:///a.jpg", "http://a/b.jpg", "", "é.png", "\ud800", "12"])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 9),
    PATHS,
    st.lists(PATHS, max_size=3),
    st.fixed_dictionaries({"path": PATHS}),
)
TEXTS = st.sampled_from(["<image>\nWhat?", "<video>\nWhat?", "What?", "<audio>", "", " ", "é", "\ud800"])
TURNS = st.one_of(
    st.fixed_dictionaries(
        {
            "from": st.sampled_from(["human", "gpt", "system", "user", "Human ", "cook", None, 3, ["human"]]),
            "value": st.one_of(TEXTS, st.none(), st.just([{"type": "text", "text": "What?"}])),
        },
        optional={"weight": st.integers(0, 1), "name": st.just("n"), "image": PATHS, "role": st.just("user")},
    ),
    st.fixed_dictionaries({"role": st.just("user"), "content": TEXTS}),
    st.just("What?"),
)
MEDIA = st.dictionaries(st.sampled_from(["image", "images", "video", "frames"]), VALUES, max_size=1)
OTHER_FIELDS = st.dictionaries(st.sampled_from([*KNOWN, *OTHERS]), VALUES, max_size=1)
USUAL = st.builds(lambda text: [{"from": "human", "value": text}, {"from": "gpt", "value": "A cat."}], TEXTS)
LISTS_OF_TURNS = st.one_of(USUAL, USUAL, st.lists(TURNS, max_size=3), st.just("What?"))


def outcome(value: dict, name: str, *, plain: bool) -> tuple[Record | tuple[str, str], dict, dict]:
    """The record, or why there is none; and its keys."""
    counts, schema = KeyCounts(), SCHEMAS[name]
    with pytest.MonkeyPatch.context() as patch:
        if not plain:
            patch.setitem(SCHEMAS, name, schema._replace(plain=None))
        try:
            result: Record | tuple[str, str] = record_of(value, "x.jsonl:7", name, counts)
        except Rejection as rejection:
            result = rejection.reason, rejection.detail
    return result, dict(counts.read), dict(counts.warned)


@pytest.mark.slow
@given(MEDIA, OTHER_FIELDS, LISTS_OF_TURNS)
@example({}, {"moment": [1, 2], "video": "a.mp4"}, [{"from": "human", "value": "<video>"}])
@example({}, {"start_index": 3, "video": "a.mp4"}, [{"from": "human", "value": "<video>"}])
@example({"image": ""}, {}, [{"from": "human", "value": "What?"}])
@example({"image": "a.jpg"}, {"video": "a.mp4"}, [{"from": "human", "value": "<image>"}])
@settings(max_examples=500)
def test_the_short_way_gives_what_the_long_one_gives(media, others, turns):
    value = {**media, **others, "conversations": turns}
    assert outcome(value, "llava", plain=True) == outcome(value, "llava", plain=False)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"image": "a.jpg"},
        {"images": ["a.jpg", "b.jpg"]},
        {"video": "a.mp4"},
        {"image": "a.jpg", "width": 640, "source": "web"},
    ],
)
def test_the_usual_records_go_the_short_way(fields):
    """Else the test above would compare the long way with itself, and records would be read as slowly as before."""
    turns = [{"from": "system", "value": "S."}, {"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]
    for schema, role, text in (("llava", "from", "value"), ("openai-messages", "role", "content")):
        form = SCHEMAS[schema]
        renamed = [{role: turn["from"], text: turn["value"]} for turn in turns]
        assert form.plain is not None
        record = form.plain.read({"id": 5, **fields, form.sign: renamed}, "x.jsonl:7", None)
        assert record is not None
        assert (record.id, [message.role for message in record.messages]) == ("5", ["system", "human", "gpt"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        " {}",
        "{} ",
        '{"a": 1}',
        '\ufeff{"a": 1}',
        '{"a": 1} x',
        "[1",
        "nul",
        '"\\ud800"',
        "NaN",
        "1e999",
        "9" * 5000,
    ],
)
def test_json_is_read_as_json_loads_reads_it(text):
    def result(read):
        try:
            return repr(read(text))
        except ValueError as error:
            return str(error)

    assert result(loaded) == result(json.loads)
