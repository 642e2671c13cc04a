"""What `--help` of every command looks like on a terminal of 80 and of 120 columns."""

import re
import shlex

import pytest
import typer

from aurora_cli.cli.app import run
from aurora_cli.cli.builder import build_command
from aurora_cli.cli.commands import SPECS
from aurora_cli.cli.help import EVERYWHERE
from aurora_cli.cli.table import COMMANDS

WIDTHS = (80, 120)
COMMON = ("--workspace", "--preset", "--config", "--set", "--dry-run", "--json", "--quiet", "--debug", "--help", "-h")


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run([*arguments, "--help"]) == 0
    return capsys.readouterr().out


def panels_in(page: str) -> dict[str, str]:
    """Title -> what the frame of that title holds."""
    found = re.findall(r"^╭─ (.+?) ─*╮\n((?:│.*│\n)+)╰─+╯$", page, re.MULTILINE)
    assert len(found) == page.count("╭"), "a panel has no title"
    return {title: re.sub(r"^│ | *│$", "", body, flags=re.MULTILINE) for title, body in found}


def names_in(text: str) -> list[str]:
    """Options in the columns of names: those of a help text stand further right."""
    heads = re.findall(r"^-.*?(?=  |$)", text, re.MULTILINE)
    return re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", " ".join(heads))


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_no_line_is_wider_than_the_terminal_and_no_column_is_empty(
    name: str, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    page = shown(capsys, *filter(None, [name]))
    assert max(map(len, page.splitlines())) <= width
    assert not re.search(r"`|…|<bool>|<str>|<list|<int|<float", page)
    rows = "\n".join(panels_in(page).values())
    assert min(map(len, re.findall(r"^\S.*?( {2,})\S", rows, re.MULTILINE))) == 2  # an empty column would add to each


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_stands_whole_in_the_panel_of_its_task(
    name: str, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    panels = panels_in(shown(capsys, name))
    assert list(panels) == [*SPECS[name].panels, EVERYWHERE]
    assert sorted(names_in(panels[EVERYWHERE])) == sorted(COMMON)
    for title, flags in SPECS[name].panels.items():
        typed = re.findall(r"--[a-z0-9-]+", " ".join(" ".join(flag.declarations) for flag in flags))
        assert sorted(names_in(panels[title])) == sorted(typed)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_flag_is_whole(name: str, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    panels = panels_in(shown(capsys, name))
    for title, flags in SPECS[name].panels.items():
        text = " ".join(panels[title].split())
        for flag in flags:
            assert " ".join(flag.help.replace("`", "").split()) in text, flag.path


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_that_is_copied_from_the_page_is_the_command(
    name: str, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    _, examples = shown(capsys, name).split("Examples:\n")
    as_a_shell_reads = examples.replace("\\\n", " ").splitlines()
    assert [shlex.split(line) for line in as_a_shell_reads] == [shlex.split(line) for line in SPECS[name].examples]


def test_the_names_of_a_switch_are_one_word_and_a_choice_shows_what_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = shown(capsys, "caption")
    assert "│ --slowfast/--no-slowfast  Keep the first frame of a video whole;" in page
    assert "│ --token-kept-ratio, --visual-token-merge-ratio FLOAT  " in page
    assert "│ --device-map auto|balanced|sequential  " in page
    assert "│ -h, --help  " in page
    assert "│ --safe-serialization/--no-safe-serialization  " in shown(capsys, "convert")


def test_on_a_terminal_what_is_quoted_is_bold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    command = build_command("caption")
    page = command.get_help(typer.Context(command, info_name="caption"))
    assert "\x1b[1m--allow-remote\x1b[0m URLs" in page


def test_the_list_of_commands_names_each_with_its_summary(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    panels = panels_in(shown(capsys))
    assert names_in(panels.pop("Options")) == ["--version", "--install-completion", "--show-completion", "-h", "--help"]
    listed = " ".join(" ".join(panels.values()).split())
    assert listed == " ".join(f"{name} {summary}" for name, (_, summary) in COMMANDS.items())
    assert list(panels) == list(dict.fromkeys(panel for panel, _ in COMMANDS.values()))


@pytest.mark.parametrize("columns", [20, 40])
def test_on_a_narrow_terminal_nothing_is_lost(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    letters = re.sub(r"[│\s]", "", shown(capsys, "caption"))
    for flag in SPECS["caption"].flags:
        assert re.sub(r"[`\s]", "", flag.help) in letters, flag.path
        assert all(name in letters for name in flag.names)
