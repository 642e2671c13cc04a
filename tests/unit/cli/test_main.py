"""The command line as a shell sees it: exit codes, streams, help, and what is not imported."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aurora_cli.cli.app import run
from aurora_cli.cli.commands import SPECS
from aurora_cli.cli.table import COMMANDS
from aurora_cli.config import fields


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_the_table_and_the_specs_name_the_same_commands() -> None:
    assert list(COMMANDS) == list(SPECS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_summary_every_flag_and_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"aurora {name}" in shown
    assert "Examples:" in shown
    for flag in SPECS[name].flags:
        for typed in flag.names[:1]:
            assert typed in shown, typed


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_setting_is_exit_2_with_a_did_you_mean(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--set", "train.epoch=2"]) == 2
    assert "did you mean train.epochs?" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_is_exit_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--no-such-flag"]) == 2
    assert "--no-such-flag" in capsys.readouterr().err


def test_private_without_a_repository_to_upload_to_is_exit_2_and_says_what_to_type(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["convert", "--private"]) == 2
    error = capsys.readouterr().err
    assert "--private: does nothing without --push-to-hub" in error
    assert "aurora convert --push-to-hub REPO --private" in error
    monkeypatch.setenv("AURORA_CONVERT__PUSH_TO_HUB", "me/captioner")
    assert run(["convert", "--private"]) == 3  # there is no run


@pytest.mark.parametrize(
    "words",
    [
        ["--dtype", "bfloat16"],
        ["--prompt", "Why?"],
        ["--model", "runs/a"],
        ["--frames", "4"],
        ["--shard", "0/2"],
        ["--set", "evaluate.frames=4"],
    ],
)
def test_captions_that_are_there_and_how_to_make_them_are_exit_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "captions.jsonl", "--references", "references.jsonl", *words]) == 2
    flag = "--frames" if words[0] == "--set" else words[0]
    assert f"{flag}: does nothing with CAPTIONS" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["train"], ["caption", "a.jpg"], ["merge-view", "a.jpg"]])
def test_the_originals_name_of_the_kept_ratio_is_a_flag_wherever_ours_is(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--visual-token-merge-ratio", "1.5"]) == 2
    assert "kept_ratio" in capsys.readouterr().err


NEEDS_INPUT = ["merge-tars", "extract", "tokenize", "merge-shards", "train", "convert", "caption", "inspect"]


@pytest.mark.parametrize("name", NEEDS_INPUT)
def test_without_arguments_in_an_empty_folder_it_says_what_to_type(
    name: str, capsys: pytest.CaptureFixture[str], empty_folder: Path
) -> None:
    assert run([name]) in (2, 3)
    captured = capsys.readouterr()
    assert "aurora " in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert list(empty_folder.iterdir()) == []


def test_download_without_a_network_is_exit_4(capsys: pytest.CaptureFixture[str], empty_folder: Path) -> None:
    assert run(["download"]) == 4
    assert "Traceback" not in capsys.readouterr().err
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize("name", NEEDS_INPUT)
def test_json_is_one_object_also_for_an_error(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = run([name, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["exit_code"] == code
    assert answer["error"]


def test_a_mistyped_command_gets_a_did_you_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tokenise"]) == 2
    assert "Did you mean `aurora tokenize`?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["convert"], ["caption"], ["inspect"], ["train", "--data"]])
def test_a_name_that_no_file_can_have_is_exit_2(
    words: list[str], capsys: pytest.CaptureFixture[str], empty_folder: Path
) -> None:
    assert run([*words, "n" * 300]) == 2
    assert "is too long for a name" in capsys.readouterr().err


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["extract", "--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_the_option_that_the_deepspeed_launcher_adds_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--local_rank=0", "--dry-run", "--quiet"]) == 3
    assert "no merged shards" in capsys.readouterr().out
    assert run(["train", "--help"]) == 0
    assert "local_rank" not in capsys.readouterr().out


def test_every_default_is_read_from_the_settings() -> None:
    """No flag has a default of its own: typer's parameters for settings are all None."""
    from aurora_cli.cli.builder import parameter_of

    for spec in SPECS.values():
        for flag in spec.flags:
            assert flag.path in fields.by_path(), flag.path
            assert parameter_of(flag, "").default is None, flag.path


def test_a_bug_is_exit_1_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("aurora_cli.pipeline.presets.listing.preset_names", lambda: 1 / 0)
    assert run(["presets"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_ctrl_c_is_exit_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("aurora_cli.pipeline.presets.listing.preset_names", interrupt)
    assert run(["presets"]) == 130
    assert "safe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "words", "said"),
    [
        ("caption.command", ["caption", "cat.png"], "nothing was written"),
        ("caption.command", ["caption", "cat.png", "--output", "captions.jsonl"], "the work so far is safe"),
        ("caption.command", ["caption", "cat.png", "--output", "captions.jsonl", "--dry-run"], "nothing was written"),
        ("train.stages.command", ["train", "--stage", "vision", "--plan"], "nothing was written"),
        ("train.stages.command", ["train", "--stage", "vision"], "the work so far is safe"),
    ],
)
def test_what_ctrl_c_leaves_is_said_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str, words: list[str], said: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"aurora_cli.pipeline.{module}.run", interrupt)
    assert run(words) == 130
    assert f"error: interrupted; {said}\n" in capsys.readouterr().err


def test_a_full_disk_is_exit_4(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> list[str]:
        raise OSError(28, "No space left on device", "data")

    monkeypatch.setattr("aurora_cli.pipeline.presets.listing.preset_names", full)
    assert run(["presets"]) == 4
    assert "disk is full" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EFBIG, "data: no file may become so large there\nRaise the limit"),
        (errno.EROFS, "data: Read-only file system\n"),
        (errno.ENOTDIR, "data: Not a directory\n"),
        (errno.EIO, "data: Input/output error\n"),
        (errno.EMFILE, "data: Too many open files\n"),
    ],
)
def test_what_the_system_refuses_is_exit_4_and_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, said: str
) -> None:
    def refused() -> list[str]:
        raise OSError(code, os.strerror(code), "data")

    monkeypatch.setattr("aurora_cli.pipeline.presets.listing.preset_names", refused)
    assert run(["presets"]) == 4
    assert f"error: {said}" in capsys.readouterr().err


def test_a_file_that_a_step_forgot_to_look_for_is_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("aurora_cli.pipeline.presets.listing.preset_names", Path("/nowhere").stat)
    assert run(["presets"]) == 1
    assert "FileNotFoundError" in capsys.readouterr().err


def test_memory_that_does_not_suffice_is_exit_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class OutOfMemoryError(RuntimeError):
        """Torch's, by its name."""

    def too_much() -> list[str]:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines")

    monkeypatch.setattr("aurora_cli.pipeline.presets.listing.preset_names", too_much)
    assert run(["presets"]) == 4
    shown = capsys.readouterr().err
    assert "CUDA out of memory. Tried to allocate 2.00 GiB." in shown
    assert "--batch-size 1" in shown
    assert "bug" not in shown


HEAVY = ("torch", "transformers", "datasets", "deepspeed", "accelerate", "pydantic")


def imported_by(*code: str) -> set[str]:
    probe = "\n".join((*code, "import sys; print([m for m in sys.modules if '.' not in m])"))
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60).stdout
    return set(eval(out.splitlines()[-1]))


@pytest.mark.slow
def test_help_imports_neither_torch_nor_the_settings() -> None:
    modules = imported_by(
        "import contextlib, io",
        "from aurora_cli.cli.app import run",
        "with contextlib.redirect_stdout(io.StringIO()): run(['--help'])",
    )
    assert modules.isdisjoint(HEAVY), modules.intersection(HEAVY)


@pytest.mark.slow
def test_parsing_any_command_imports_no_torch() -> None:
    modules = imported_by(
        "from aurora_cli.cli.builder import build_command, load_step",
        "from aurora_cli.cli.commands import SPECS",
        "for spec in SPECS.values(): build_command(spec.name); load_step(spec)",
    )
    assert modules.isdisjoint(HEAVY[:-1]), modules.intersection(HEAVY)


@pytest.mark.slow
def test_the_package_is_light_until_used() -> None:
    assert imported_by("import aurora_cli").isdisjoint((*HEAVY, "rich", "typer"))


@pytest.mark.slow
def test_completion_knows_commands_and_flags() -> None:
    environment = {**os.environ, "_AURORA_COMPLETE": "complete_bash", "COMP_WORDS": "aurora tok", "COMP_CWORD": "1"}
    aurora = [sys.executable, "-c", "import sys; sys.argv[0] = 'aurora'; from aurora_cli.cli.app import main; main()"]
    done = subprocess.run(aurora, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["tokenize"], done
    environment |= {"COMP_WORDS": "aurora tokenize --bat", "COMP_CWORD": "2"}
    done = subprocess.run(aurora, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["--batch-size"], done
