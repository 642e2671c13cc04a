"""What lies where annotations are looked for and is not read is named, with what to type."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from aurora_cli.config.settings import InspectSettings, Settings
from aurora_cli.data.annotations.unread_files import unread_files
from aurora_cli.errors import DataError
from aurora_cli.pipeline.inspect.command import run as inspect
from aurora_cli.pipeline.tokenize.command import run as tokenize
from tests.tokenizing import record, settings, write_records


def made(folder: Path, name: str, content: bytes = b"[]") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def tar_with(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


IMPORT = "aurora import {path} --split language --as mine-imported"


@pytest.mark.parametrize(
    ("name", "content", "what", "hint"),
    [
        ("language/mine/train.json", b"[]", "a .json may be anything", "aurora tokenize {path}"),
        ("language/mine/train.json.gz", b"", "a .json may be anything", "aurora tokenize {path}"),
        ("language/mine.jsonl", b"{}", "it lies above the folder of a subset", "aurora tokenize {path}"),
        ("mine.jsonl", b"{}", "it lies above the folder of a split and a subset", "aurora tokenize {path}"),
        ("language/mine/annotations/a.jsonl", b"{}", "it lies below the subset's folder", "aurora tokenize {path}"),
        ("language/mine/train.arrow", b"ARROW1", "a table", "write a record for each into {subset}/mine.jsonl"),
        ("language/mine/train.parquet", b"PAR1", "a table", IMPORT),
        ("language/mine/train.csv", b"a,b", "a table", IMPORT),
        (
            "language/mine/00000.tar",
            tar_with("a/0001.jpg", "a/0001.json", "a/0002.jpg"),
            "a WebDataset tar, texts beside their media (0001.json, 0001.jpg)",
            IMPORT,
        ),
    ],
)
def test_it_is_named_by_tokenize_and_inspect_alike(tmp_path, name, content, what, hint):
    path = made(tmp_path / "data", name, content)
    expected = hint.format(path=path, subset=tmp_path / "data/language/mine")
    commands = [lambda: tokenize(settings(tmp_path)), lambda: inspect(Settings(workspace=tmp_path))]
    if "above" in what:  # of which inspect says both: what is in it, and that tokenize does not read it
        assert inspect(Settings(workspace=tmp_path)).lines()[-1].startswith(f"{path}: not read: {what}")
        commands.pop()
    for command in commands:
        with pytest.raises(DataError) as caught:
            command()
        assert "holds no annotations" in caught.value.message
        assert f"{path}: not read: {what}" in caught.value.message
        assert caught.value.hint.startswith(expected)


def test_it_is_named_beside_subsets_that_are_read(tmp_path):
    write_records(tmp_path / "data/language/yours/yours.jsonl", 2)
    train = made(tmp_path / "data", "language/mine/train.json")
    line = (
        f"{train}: not read: a .json may be anything, and is read when it is named. To read it: aurora tokenize {train}"
    )
    for dry_run in (True, False):
        result = tokenize(settings(tmp_path), dry_run=dry_run)
        assert result.unread == (line,)
        assert line in result.lines()
    assert inspect(Settings(workspace=tmp_path)).lines()[-1] == line
    assert tokenize(settings(tmp_path, subsets=("yours",))).unread == ()
    with pytest.raises(DataError, match=r"train\.json: not read"):
        tokenize(settings(tmp_path, subsets=("mine",)))


def test_in_a_subset_that_is_read_only_what_begins_as_records_do_is_named(tmp_path):
    write_records(tmp_path / "data/language/mine/mine.jsonl", 2)
    made(tmp_path / "data", "language/mine/sizes.json", b'{"0.jpg": [3, 4]}')
    made(tmp_path / "data", "language/mine/prices.csv")
    made(tmp_path / "data", "language/mine/media.tar", tar_with("0.jpg", "0.json"))
    made(tmp_path / "data", "download.json", b'{"conversations": 0}')
    made(tmp_path / "data", "language/mine/rejected.jsonl")
    assert unread_files(tmp_path / "data") == []
    more = made(tmp_path / "data", "language/mine/more.json", json.dumps([record(5)]).encode())
    assert [file.path for file in unread_files(tmp_path / "data")] == [more]


def test_a_tar_of_media_alone_is_no_webdataset(tmp_path):
    made(tmp_path / "data", "language/mine/a.tar", tar_with("0.jpg", "1.jpg", "notes.txt"))
    made(tmp_path / "data", "language/mine/b.tar", b"damaged")
    assert unread_files(tmp_path / "data") == []


def test_what_is_typed_works(tmp_path):
    train = made(tmp_path / "data", "language/mine/train.json", json.dumps([record(0), record(1)]).encode())
    assert tokenize(settings(tmp_path, inputs=(train,))).folders[0].kept == 2
    assert inspect(Settings(workspace=tmp_path, inspect=InspectSettings(path=train))).exit_code == 0
