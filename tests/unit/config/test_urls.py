"""URLs among the settings: read where a bucket's belong, and nowhere else taken for a folder called `s3:`."""

from pathlib import Path

import pytest

from aurora_cli.cli.app import run
from aurora_cli.config import fields
from aurora_cli.config.resolve import resolve
from aurora_cli.errors import SettingsError

ON_THIS_MACHINE = [
    setting.path
    for setting in fields.settings()
    if Path in (setting.annotation, setting.item.annotation if setting.item else None) and setting.path != "workspace"
]
ALSO_IN_BUCKETS = [
    "caption.manifest",
    "caption.media_root",
    "caption.output",
    "checkpoint.copy_to",
    "evaluate.against",
    "evaluate.captions",
    "evaluate.media_root",
    "evaluate.references",
    "merge_captions.output",
    "train.media_root",
    "train.resume",
]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", [*ON_THIS_MACHINE, "train.data"])
def test_a_url_is_no_path_of_this_machine(path: str) -> None:
    with pytest.raises(SettingsError, match=r"(s3|https)://.* is not allowed: it is a URL, and a path of this machine"):
        resolve(sets=[f"{path}=s3://bucket/x"])
    with pytest.raises(SettingsError, match=rf"^{path}(\.0)?: .*https://"):
        resolve(sets=[f"{path}=https://example.org/x"])
    resolve(sets=[f"{path}=s3/bucket/x"])


@pytest.mark.parametrize("path", ALSO_IN_BUCKETS)
def test_of_urls_a_buckets_alone_are_read_where_a_path_may_stand(path: str) -> None:
    for given in ("s3://bucket/x", "hf://datasets/a/b", "/x"):
        resolve(sets=[f"{path}={given}"])
    for given in ("https://example.org/x", "file:///x", "ftp://example.org/x"):
        with pytest.raises(SettingsError, match=rf"^{path}.*{given.partition(':')[0]}:// is not read here; a path was"):
            resolve(sets=[f"{path}={given}"])


@pytest.mark.parametrize(
    "words", [["extract", "--output"], ["download", "--output"], ["convert", "run"], ["doctor", "--workspace"]]
)
def test_what_is_to_be_written_into_a_bucket_is_not_written_here_instead(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "s3://bucket/x"]) == 2
    assert "s3://bucket/x" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_that_is_a_file_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(["doctor", "--workspace", "file"]) == 2
    assert "workspace: file: is a file, where a folder was expected" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["convert", "serve"])
def test_the_page_of_a_model_is_told_its_hub_id(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "https://huggingface.co/owner/name/tree/main"]) == 2
    assert "The hub's id of it is owner/name" in capsys.readouterr().err


def test_the_page_of_a_data_set_is_told_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["download", "--repo", "https://huggingface.co/datasets/owner/name"]) == 2
    assert "The hub's name of it is owner/name" in capsys.readouterr().err
