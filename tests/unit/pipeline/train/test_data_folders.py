"""The folders that a stage trains on, as settings name them."""

from pathlib import Path

import pytest

from aurora_cli.config.settings import Settings, TrainSettings
from aurora_cli.config.workspace import Workspace
from aurora_cli.errors import AuroraError, UsageError
from aurora_cli.pipeline.train.data_folders import find_data, split_weight
from tests.distributed.tiny_workspace import make


def test_weights_are_read_off_the_end_of_a_folder() -> None:
    assert split_weight("a/b") == ("a/b", 1.0)
    assert split_weight("a/b:2") == ("a/b", 2.0)
    assert split_weight("a:b/c") == ("a:b/c", 1.0)
    for text in ("a:0", "a:-1", "a:nan", "a:inf"):
        with pytest.raises(UsageError, match="a number above 0 was expected"):
            split_weight(text)


def at(root: Path, *data: str) -> Settings:
    return Settings(workspace=root, train=TrainSettings(stage="vision", data=data))


def hint(root: Path, *data: str) -> str:
    """What to type, where there are no data to train on."""
    with pytest.raises(AuroraError) as caught:
        find_data(at(root, *data), Workspace(root))
    assert caught.value.hint is not None
    return caught.value.hint


def test_a_file_of_annotations_is_no_data_and_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "my.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match=r"train\.data: my\.jsonl is a file"):
        find_data(at(tmp_path, "my.jsonl"), Workspace(tmp_path))
    way = "aurora tokenize my.jsonl --output tokenized/vision/my && aurora merge-shards tokenized/vision/my"
    assert hint(tmp_path, "my.jsonl").startswith(way)


def test_the_hint_names_what_there_is(tmp_path: Path) -> None:
    """From nothing to shards of the stage itself, each nearer than the one before."""
    assert hint(tmp_path).startswith("Begin with: aurora download --split vision; with data of your own: aurora import")
    annotations = tmp_path / "data" / "language" / "own"
    annotations.mkdir(parents=True)
    (annotations / "own.jsonl").write_text("{}\n")
    train = "aurora train --stage vision"
    assert hint(tmp_path).endswith(f"aurora tokenize && aurora merge-shards && {train} --data tokenized/language/own")
    (tmp_path / "tokenized" / "other" / "my" / "shards").mkdir(parents=True)
    assert hint(tmp_path).endswith(f"aurora merge-shards && {train} --data tokenized/other/my")
    assert hint(tmp_path, "tokenized/other/my") == "aurora merge-shards tokenized/other/my"
    (tmp_path / "tokenized" / "other" / "my" / "merged").mkdir()
    assert hint(tmp_path).endswith(f"{train} --data tokenized/other/my/merged")
    (tmp_path / "data" / "vision" / "own").mkdir(parents=True)
    (tmp_path / "data" / "vision" / "own" / "own.jsonl").write_text("{}\n")
    assert hint(tmp_path) == "Make them: aurora tokenize --split vision && aurora merge-shards"
    (tmp_path / "tokenized" / "vision" / "own" / "shards").mkdir(parents=True)
    assert hint(tmp_path) == "Make them: aurora merge-shards"


@pytest.mark.slow
def test_a_tokenized_folder_stands_for_what_is_merged_in_it(tmp_path: Path) -> None:
    make(tmp_path, "vision", images=4, videos=1, texts=1)
    named = find_data(at(tmp_path, "tokenized/vision/images:2"), Workspace(tmp_path))
    assert [(one.folder, one.weight, one.rows) for one in named] == [
        (tmp_path / "tokenized" / "vision" / "images" / "merged", 2.0, 4)
    ]
