"""What lies where annotations are looked for and is not read is named, with what to type."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from aurora_cli.config.settings import InspectSettings, Settings
from aurora_cli.data.annotations.unread_files import unread_files
from aurora_cli.errors import DataError, UsageError
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


@pytest.mark.parametrize(
    ("name", "content", "what", "typed"),
    [
        ("language/mine/a/b/c.jsonl", b"{}", "it lies below the subset's folder", "aurora tokenize {path}"),
        (
            "language/mine/a/1.json",
            b'{"conversations": []}',
            "it lies below the subset's folder",
            "aurora tokenize {path}",
        ),
        ("language/mine/train.jsonl.zst", b"", "compressed by zst", "zstd -d {path}"),
        ("language/mine/train.json.xz", b"", "compressed by xz", "unxz -k {path}"),
        ("language/mine/Train.JSONL", b"{}", "its suffix is in capital letters", "mv {path} {folder}/Train.jsonl"),
        ("language/mine/T.JSON", b"[]", "a .json may be anything", "mv {path} {folder}/T.json"),
    ],
)
def test_names_that_are_nearly_right_are_named(tmp_path, name, content, what, typed):
    path = made(tmp_path / "data", name, content)
    (found,) = unread_files(tmp_path / "data")
    assert (found.path, found.hint) == (path, typed.format(path=path, folder=path.parent))
    assert found.what.startswith(what)


def test_texts_beside_their_media_are_named(tmp_path):
    for name in ("0.jpg", "1.jpg", "0.txt", "1.txt", "notes.txt"):
        made(tmp_path / "data", f"language/mine/{name}")
    (found,) = unread_files(tmp_path / "data")
    assert found.path == tmp_path / "data/language/mine/0.txt"
    assert found.hint == IMPORT.format(path=tmp_path / "data/language/mine")


def test_compressed_lines_are_named_in_a_subset_that_is_read(tmp_path):
    write_records(tmp_path / "data/language/mine/part0.jsonl", 2)
    part = made(tmp_path / "data", "language/mine/part1.jsonl.zst")
    made(tmp_path / "data", "language/mine/0.jpg")
    made(tmp_path / "data", "language/mine/0.txt")
    assert [file.path for file in unread_files(tmp_path / "data")] == [part]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.parquet", "aurora import {}"),
        ("a.tar", "aurora import {}"),
        ("a.jsonl.bz2", "bunzip2 -k {}"),
        ("a.doc", None),
    ],
)
def test_a_file_that_is_named_and_is_no_annotations_says_what_to_type(tmp_path, name, hint):
    path = made(tmp_path, name)
    expected = hint and hint.format(path)
    for command in (
        lambda: tokenize(settings(tmp_path, inputs=(path,))),
        lambda: inspect(Settings(workspace=tmp_path, inspect=InspectSettings(path=path))),
    ):
        with pytest.raises(UsageError) as caught:
            command()
        assert caught.value.hint == expected


def test_rows_that_are_no_conversations_name_import(tmp_path):
    path = made(tmp_path, "a.jsonl", b'{"image": "a.jpg", "caption": "A cat."}\n')
    lines = tokenize(settings(tmp_path, inputs=(path,))).lines()
    assert any("`aurora import FILE`" in line for line in lines)
    path = made(tmp_path, "b.jsonl", b'{"image": "a.jpg", "caption": "A cat."}\n[1]\n')
    assert not any("`aurora import FILE`" in line for line in tokenize(settings(tmp_path, inputs=(path,))).lines())


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
