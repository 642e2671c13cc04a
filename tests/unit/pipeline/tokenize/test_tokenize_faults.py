"""Fault campaigns on `aurora tokenize`: damaged records, and kill -9 at any moment. `-m soak` runs the long ones."""

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aurora_cli.data.annotations.files import RawRecord, array_elements, lines
from aurora_cli.data.annotations.records import REASONS
from aurora_cli.data.tokenization.encoder import Encoder
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.io.atomic import read_json
from aurora_cli.pipeline.merge_shards import run as merge
from aurora_cli.pipeline.tokenize.command import run
from tests.chat_templates import CHAT_TEMPLATES
from tests.tokenizing import ROOT, TINY, contents, merge_settings, record, settings, write_records

WORDS = st.one_of(
    st.text(max_size=20), st.sampled_from(["<image>", "<video>", "<s>", "\ud800", "\0", "x" * 10_000, ""])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)
ROLES = st.sampled_from(["human", "gpt", "user", "assistant", "system", "tool", "", None])
PARTS = st.dictionaries(
    st.sampled_from(["type", "text", "image", "image_url", "video", "url", "path"]),
    st.one_of(st.sampled_from(["text", "image", "image_url", "video", "a.jpg", "https://a/b", "data:,"]), VALUES),
)
TURNS = st.one_of(
    st.fixed_dictionaries({"from": ROLES, "value": WORDS}),
    st.fixed_dictionaries({"role": ROLES, "content": st.one_of(WORDS, st.lists(PARTS, max_size=3))}),
    st.dictionaries(st.sampled_from(["idx", "content", "weight"]), VALUES),
    VALUES,
)
FIELDS = ["id", "image", "images", "video", "video_path", "conversations", "messages", "captions", "other"]
RECORDS = st.dictionaries(st.sampled_from(FIELDS), st.one_of(VALUES, st.lists(TURNS, max_size=5)))
SCHEMAS = [
    record(0),
    {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
    {"video_path": "a.mp4", "captions": [{"idx": "-1", "content": "A video."}]},
]


@st.composite
def damaged_lines(draw: st.DrawFn) -> bytes:
    """A record with wrong values in it, as JSON, and then perhaps with wrong bytes in it."""
    nearly_whole = st.builds(lambda whole, fields: {**whole, **fields}, st.sampled_from(SCHEMAS), RECORDS)
    value = draw(st.one_of(RECORDS, nearly_whole, VALUES))
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    raw = text.encode("utf-8", "surrogatepass")
    harm = draw(st.sampled_from(["none", "none", "cut", "byte", "comma", "double", "bom"]))
    position = draw(st.integers(0, len(raw)))
    match harm:
        case "cut":
            raw = raw[:position]
        case "byte":
            raw = raw[:position] + bytes([draw(st.integers(0, 255))]) + raw[position:]
        case "comma":
            raw += b","
        case "double":
            raw = raw.replace(b"{", b'{"id": 1, "image": 2, ', 1)
        case "bom":
            raw = b"\xef\xbb\xbf" + raw
    return raw.replace(b"\n", b" ")


TOKENIZER = load_tokenizer(TINY)
ENCODERS = {
    "vicuna": Encoder(TOKENIZER, "vicuna", max_length=64, frames=3),
    "tokenizer": Encoder(
        replace(TOKENIZER, chat_template=CHAT_TEMPLATES["brackets"].source), "tokenizer", max_length=64, frames=3
    ),
}


def check_all_accounted_for(raws: list[bytes]) -> None:
    for encoder in ENCODERS.values():
        check_accounted_for_by(encoder, raws)


def check_accounted_for_by(encoder: Encoder, raws: list[bytes]) -> None:
    records = [RawRecord(number, raw) for number, raw in enumerate(raws, start=1)]
    columns = encoder.encode(records, "x.jsonl", images_are_video=False)
    assert len(columns.id) + len(columns.rejected) == len(raws)
    assert {record.reason for record in columns.rejected} <= REASONS.keys()
    "".join(record.to_line() for record in columns.rejected).encode("ascii")
    assert sum(columns.length) == len(columns.input_ids) == len(columns.labels)
    assert max(columns.length, default=0) <= 64
    ends = np.cumsum(columns.length)
    for end, length, media in zip(ends, columns.length, columns.media_lengths, strict=True):
        assert (columns.input_ids[end - length : end] == -200).sum() == sum(media)
    assert all(image != [] for image in columns.image)


@pytest.mark.slow
@given(st.lists(damaged_lines(), max_size=10))
@hypothesis_settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_every_damaged_record_is_kept_or_rejected(raws):
    check_all_accounted_for(raws)


@pytest.mark.soak
@given(st.lists(damaged_lines(), min_size=10, max_size=10))
@hypothesis_settings(max_examples=1_000, suppress_health_check=list(HealthCheck))
def test_ten_thousand_damaged_records_are_kept_or_rejected(raws):
    check_all_accounted_for(raws)


@pytest.mark.slow
@given(st.lists(damaged_lines(), max_size=10), st.sampled_from([b"\n", b"\r\n"]))
@hypothesis_settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_a_file_of_damaged_lines_gives_them_all(tmp_path_factory, raws, ending):
    kept = [raw for raw in raws if raw.strip()]
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_bytes(ending.join(raws))
    with open(path, "rb") as stream:
        found = [entry.raw for entry in lines(stream)]
    without_bom = [raw.removeprefix(b"\xef\xbb\xbf") if index == 0 else raw for index, raw in enumerate(raws)]
    assert found == [raw.strip() for raw in without_bom if raw.strip()]
    assert len(found) <= len(kept)


@pytest.mark.slow
@given(st.lists(damaged_lines(), max_size=10))
@hypothesis_settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_an_array_of_damaged_elements_ends(tmp_path_factory, raws):
    path = tmp_path_factory.mktemp("array") / "a.json"
    path.write_bytes(b"[" + b",".join([json.dumps(record(1)).encode(), *raws]) + b"]")
    with open(path, "rb") as stream:
        found = [entry.raw for entry in array_elements(stream)]
    assert json.loads(found[0]) == record(1)
    check_all_accounted_for(found)


@pytest.mark.slow
@pytest.mark.parametrize("template", ENCODERS)
def test_a_hundred_thousand_turns_are_one_record(template):
    turns = [{"from": "gpt" if index % 2 else "human", "value": "a"} for index in range(100_000)]
    raw = RawRecord(1, json.dumps({"conversations": turns}).encode())
    columns = ENCODERS[template].encode([raw], "x", images_are_video=False)
    assert columns.length == [64]


def damaged_file(path: Path, count: int) -> int:
    """Write `count` damaged records, and a few monsters, a line each; tell how many lines are not empty."""
    draw = random.Random(0)
    monsters = [
        json.dumps(record(1, id="x" * 20_000_000)).encode(),
        json.dumps({"conversations": [{"from": "human", "value": "a b " * 5_000_000}]}).encode(),
        json.dumps(record(2, conversations=[{"from": "gpt", "value": "a"}] * 100_000)).encode(),
        b"[" * 1_000_000,
        b"\0" * 1_000,
        b'{"conversations": [], "conversations": {"from": "human"}}',
        b"\xff\xfe" + json.dumps(record(3)).encode("utf-16-le").replace(b"\n", b""),
    ]
    lines = [*monsters]
    whole = [json.dumps(schema).encode() for schema in SCHEMAS]
    for _ in range(count):
        raw = bytearray(draw.choice(whole))
        for _ in range(draw.randrange(3)):
            at = draw.randrange(len(raw))
            raw[at : at + draw.randrange(3)] = draw.choice(
                [b"", b"null", b"\\ud800", b",", b"\xc3", b'"', b"}", b"\0", b"[]"]
            )
        lines.append(bytes(raw))
    draw.shuffle(lines)
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    return sum(bool(line.strip()) for line in lines)


def account_for_file(tmp_path: Path, count: int) -> None:
    expected = damaged_file(tmp_path / "a.jsonl", count)
    folder = run(settings(tmp_path, inputs=(Path("a.jsonl"),), output="out", batch_size=3_000, workers=2)).folders[0]
    listed = (tmp_path / "out/rejected.jsonl").read_text(encoding="ascii").splitlines()
    assert folder.read == expected
    assert folder.kept + len(listed) == expected
    assert sum(folder.rejected.values()) == len(listed)
    assert folder.kept > count / 10
    assert sum(len(contents(shard)) for shard in (tmp_path / "out/shards").iterdir()) == folder.kept


@pytest.mark.slow
def test_a_file_of_damaged_records_is_read_to_its_end(tmp_path):
    account_for_file(tmp_path, 300)


@pytest.mark.soak
def test_a_file_of_ten_thousand_damaged_records_is_read_to_its_end(tmp_path):
    account_for_file(tmp_path, 10_000)


COMMAND = """
import sys
from pathlib import Path
from tests.chat_templates import CHAT_TEMPLATES
from tests.tokenizing import settings
from aurora_cli.pipeline.tokenize.command import run
if __name__ == "__main__":
    run(settings(Path(sys.argv[1]), batch_size=150, workers=int(sys.argv[2])))
"""


def started(workspace: Path, workers: str) -> subprocess.Popen[bytes]:
    """`tokenize` on the workspace in a process of its own.

    It listens to Ctrl-C even where the tests do not: a shell starts what runs in its background with SIGINT ignored.
    """
    script = workspace / "script.py"
    script.write_text(COMMAND)
    (workspace / "tmp").mkdir(exist_ok=True)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TMPDIR": str(workspace / "tmp")}
    return subprocess.Popen(
        [sys.executable, str(script), str(workspace), workers],
        env=environment,
        stderr=subprocess.DEVNULL,
    )


def wait_for_shard(workspace: Path, process: subprocess.Popen[bytes]) -> None:
    while not list((workspace / "tokenized/vision/mine").glob("shards/part-*")):
        assert process.poll() is None
        time.sleep(0.02)


def killed_runs(workspace: Path, kills: int, workers: int) -> None:
    """Kill tokenize at random moments, `kills` times, then let it end; the rows are those of a run left alone."""
    write_records(workspace / "data/vision/mine/mine.jsonl", 6_000)
    run(settings(workspace, batch_size=150, output="alone"))
    merge(merge_settings(workspace, folders=("alone",)))
    draw = random.Random(workers)
    output = workspace / "tokenized/vision/mine"
    interrupted = 0
    for _ in range(kills):
        process = started(workspace, str(workers))
        deadline = time.monotonic() + 60
        while not (output / "shards").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(draw.random() * 0.6)
        process.send_signal(signal.SIGKILL)
        interrupted += process.wait() == -signal.SIGKILL
        for manifest in (output / "shards").glob("part-*/manifest.json"):
            assert read_json(manifest)["rows"] == 150
    assert interrupted
    run(settings(workspace, batch_size=150))
    merge(merge_settings(workspace))
    assert contents(output / "merged") == contents(workspace / "alone/merged")
    assert not list(output.rglob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_runs_continue_to_the_same_rows(tmp_path, workers):
    killed_runs(tmp_path, 2, workers)


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2])
def test_runs_killed_fifty_times_continue_to_the_same_rows(tmp_path, workers):
    killed_runs(tmp_path, 25, workers)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_run_ends_at_once_with_its_workers(tmp_path, times):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 60_000)
    process = started(tmp_path, "2")
    wait_for_shard(tmp_path, process)
    children = psutil.Process(process.pid).children(recursive=True)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert process.wait(timeout=30) != 0
    assert not psutil.wait_procs(children, timeout=20)[1]


@pytest.mark.slow
def test_neither_workers_nor_files_outlive_a_killed_parent(tmp_path):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 60_000)
    process = started(tmp_path, "2")
    wait_for_shard(tmp_path, process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.wait()
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert list((tmp_path / "tmp").iterdir()) == []
