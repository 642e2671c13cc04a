"""Files where folders belong, and folders where files do: said of the setting, before anything is done."""

from pathlib import Path

import pytest

from aurora_cli.cli.app import run


@pytest.fixture(autouse=True)
def folder_with_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("folder").mkdir()


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (["download", "--repo", "folder", "--output"], "download.output"),
        (["extract", "folder", "--output"], "extract.output"),
        (["tokenize", "--output"], "tokenize.output"),
        (["evaluate", "a.jsonl", "--references", "b.jsonl", "--output"], "evaluate.output"),
        (["train", "--preset", "tiny", "--run-dir"], "train.run_dir"),
        (["doctor", "--workspace"], "workspace"),
    ],
)
@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_is_no_folder_to_write_into(
    words: list[str], setting: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, place]) == 2
    said = f"error: {setting}: {place}: {'is' if place == 'file' else 'file is'} a file, where a folder was expected\n"
    assert capsys.readouterr().err == said
    assert sorted(path.name for path in Path().iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["presets", "--config", "folder"], "folder: cannot be read: Is a directory"),
        (["evaluate", "file/a.jsonl", "--references", "file/b.jsonl"], "file/b.jsonl"),
    ],
)
def test_what_cannot_be_read_is_said_without_the_systems_number(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) in (2, 3, 4)
    shown = capsys.readouterr().err
    assert said in shown
    assert "Errno" not in shown
    assert "bug" not in shown


def test_an_export_goes_into_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert", "folder", "file/out"]) == 2
    assert "convert.output: file: is a file, where a folder was expected" in capsys.readouterr().err


def test_settings_that_fit_are_written_into_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--preset", "tiny", "--plan", "--fit", "24GB", "--write", "folder"]) == 2
    assert capsys.readouterr().err == "error: train.write: folder: is a folder, where a file was expected\n"
