"""What `aurora demo` finds where it begins."""

import json
from pathlib import Path

import pytest

from aurora_cli.cli.app import run as command_line
from aurora_cli.config.settings import DemoSettings, Settings
from aurora_cli.console import SILENT
from aurora_cli.demo.workspace import PREPARED_FILE, prepare
from aurora_cli.errors import DataError, UsageError


def settings(root: Path, **demo: int) -> Settings:
    return Settings(workspace=root, demo=DemoSettings(images=8, videos=8, held_out=2, **demo))


def test_it_is_prepared_once_and_again_only_with_the_same_numbers(tmp_path: Path) -> None:
    prepare(settings(tmp_path), SILENT)
    assert json.loads((tmp_path / PREPARED_FILE).read_text()) == {
        "schema": 2, "images": 8, "videos": 8, "held_out": 2
    }  # fmt: skip
    for made in (
        "mirror",
        "held-out/truth.json",
        "held-out/pictures/0000.png",
        "held-out/clips/0001.mp4",
        "clip.mp4",
        "aurora.yaml",
    ):
        assert (tmp_path / made).exists(), made
    before = (tmp_path / "clip.mp4").stat().st_mtime_ns
    prepare(settings(tmp_path), SILENT)
    assert (tmp_path / "clip.mp4").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"with images 8, videos 8, held_out 2; the settings are images 9") as caught:
        prepare(Settings(workspace=tmp_path, demo=DemoSettings(images=9, videos=8, held_out=2)), SILENT)
    assert "--workspace" in (caught.value.hint or "")


def test_a_note_without_a_schema_is_read(tmp_path: Path) -> None:
    (tmp_path / PREPARED_FILE).write_text('{"images": 8, "videos": 8, "held_out": 2}')
    prepare(settings(tmp_path), SILENT)
    assert list(tmp_path.iterdir()) == [tmp_path / PREPARED_FILE]


def test_what_an_earlier_version_prepared_is_refused_with_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / PREPARED_FILE).write_text('{"pictures": 60, "clips": 24, "held_out": 4}')
    assert command_line(["demo", "--workspace", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert "was prepared by an earlier version of aurora" in shown
    assert "Name another --workspace" in shown
    assert list(tmp_path.iterdir()) == [tmp_path / PREPARED_FILE]


@pytest.mark.parametrize("content", ["", "[]", '{"images": "many"}', '{"schema": 3}'])
def test_a_damaged_note_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / PREPARED_FILE).write_text(content)
    with pytest.raises(DataError, match=r"prepared\.json"):
        prepare(settings(tmp_path), SILENT)


def test_a_workspace_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "aurora.yaml").write_text("preset: tiny\n")
    with pytest.raises(UsageError, match="is somebody's workspace"):
        prepare(settings(tmp_path), SILENT)
    assert [path.name for path in tmp_path.iterdir()] == ["aurora.yaml"]
