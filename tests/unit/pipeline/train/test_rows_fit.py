"""Rows and the model that learns from them belong together, or training does not begin."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint, OpenOptions
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.config.settings import MergeShardsSettings, Settings, TokenizeSettings, TrainSettings
from aurora_cli.errors import UsageError
from aurora_cli.export.tokenizer import export_tokenizer, write_tokenizer
from aurora_cli.pipeline.merge_shards import run as merge_shards
from aurora_cli.pipeline.tokenize.command import run as tokenize
from aurora_cli.pipeline.train.data_folders import DataFolder
from aurora_cli.pipeline.train.rows_fit import check_rows
from tests.captioners import MODEL, TOKENIZER, make_runs


@pytest.fixture
def start(tmp_path: Path) -> OpenedCheckpoint:
    """Trained with the tiny tokenizer (ids up to 670, 671 embeddings) and the template `vicuna`."""
    return open_checkpoint(make_runs(tmp_path), OpenOptions(root=tmp_path))


def written(workspace: Path, tokenizer: Path, template: str = "vicuna") -> tuple[DataFolder, ...]:
    """A merged folder of one record."""
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A <new> circle."}]
    file = workspace / "data" / "language" / "a" / "a.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"id": "1", "conversations": turns}) + "\n")
    settings = Settings(
        workspace=workspace,
        model=MODEL.model_copy(update={"tokenizer": str(tokenizer)}),
        tokenize=TokenizeSettings(workers=1, template=template),
        merge_shards=MergeShardsSettings(),
    )
    assert tokenize(settings).exit_code == 0
    assert merge_shards(settings).exit_code == 0
    return (DataFolder(workspace / "tokenized/language/a/merged", 1.0, 1),)


def fits(data: tuple[DataFolder, ...], start: OpenedCheckpoint, workspace: Path, **train: Any) -> int | None:
    template = train.pop("template", "vicuna")
    model = MODEL.model_copy(update={"tokenizer": None})
    settings = Settings(
        workspace=workspace,
        model=model,
        tokenize=TokenizeSettings(template=template),
        train=TrainSettings(**train),
    )
    return check_rows(data, settings, start)


def with_tokens(folder: Path, *tokens: AddedToken) -> Path:
    """The tiny tokenizer with more tokens behind its vocabulary."""
    shutil.copytree(TOKENIZER, folder)
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.add_tokens([*tokens])
    backend.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.slow
def test_the_models_own_tokenizer_fits_and_so_does_that_of_its_export(tmp_path: Path, start: OpenedCheckpoint) -> None:
    data = written(tmp_path, TOKENIZER)
    assert fits(data, start, tmp_path) is None
    exported = tmp_path / "exported"
    exported.mkdir()
    write_tokenizer(export_tokenizer(TOKENIZER), exported)
    shutil.rmtree(tmp_path / "tokenized")
    shutil.rmtree(tmp_path / "data")
    assert fits(written(tmp_path, exported), start, tmp_path) is None


@pytest.mark.slow
def test_another_tokenizer_is_refused_and_both_are_named(tmp_path: Path, start: OpenedCheckpoint) -> None:
    other = tmp_path / "other"
    shutil.copytree(TOKENIZER, other)
    form = json.loads((other / "tokenizer.json").read_text())
    vocabulary = form["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(form))
    with pytest.raises(UsageError, match=rf"by the tokenizer {other} \(\w+\); the model's is {TOKENIZER} \(\w+\)"):
        fits(written(tmp_path, other), start, tmp_path)


def test_another_template_than_the_runs_or_the_weights_is_refused(tmp_path: Path, start: OpenedCheckpoint) -> None:
    data = written(tmp_path, TOKENIZER, "plain")
    with pytest.raises(UsageError, match=r"with the template plain, and tokenize\.template is vicuna"):
        fits(data, start, tmp_path)
    with pytest.raises(UsageError, match=r"with the template plain; .* was trained with vicuna"):
        fits(data, start, tmp_path, template="plain")
    assert fits(data, start, tmp_path, template="plain", new_template=True) is None


def test_added_tokens_need_embeddings_and_get_them_if_that_is_wanted(tmp_path: Path, start: OpenedCheckpoint) -> None:
    """671 embeddings: the first added token has id 671, which is that of images."""
    tokenizer = with_tokens(tmp_path / "more", AddedToken("<new>", normalized=False), AddedToken("<newer>"))
    data = written(tmp_path, tokenizer)
    assert start.config.image_token_id == 671
    with pytest.raises(UsageError, match=r"highest id is 672, .* 671 embeddings, and images have the id 671; .*<new>"):
        fits(data, start, tmp_path)
    assert fits(data, start, tmp_path, grow_vocabulary=True) == 673


def test_special_tokens_behind_the_vocabulary_never_stand_in_rows(tmp_path: Path, start: OpenedCheckpoint) -> None:
    tokenizer = with_tokens(tmp_path / "more", AddedToken("<mask>", special=True, normalized=False))
    assert fits(written(tmp_path, tokenizer), start, tmp_path) is None


def test_grown_weights_have_the_mean_in_their_new_rows(start: OpenedCheckpoint) -> None:
    from aurora_cli.checkpoints.blueprint import with_vocabulary
    from aurora_cli.export.vocabulary import grow

    embedding = start.tensors[names.EMBEDDING].read()
    grown = grow(start.tensors, 673)[names.EMBEDDING].read()
    assert (grown[:671] == embedding).all()
    assert (grown[671:] - embedding.mean(0)).abs().max() < 1e-2
    config = with_vocabulary(start.config, 673)
    assert (config.get_text_config().vocab_size, config.image_token_id) == (673, 673)
    assert start.config.get_text_config().vocab_size == 671
