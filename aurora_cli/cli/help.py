"""How `--help` looks: panels of options, each under its name, as wide as the terminal up to `WIDEST` columns.

An option is a line of names and metavar, and its help beside it; where the names are too long for that the help stands
below, as nothing of a name may be cut. What stands between backticks in a help text is bold.
"""

import re
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from rich.text import Text

WIDEST = 120
NAMES_WIDTH = 30
"""Columns of names and metavar at most where the help is to stand beside them."""
GAP = 2
BORDER = 4
"""Columns that a panel's frame and its padding take."""
EVERYWHERE = "Everywhere"
"""The panel of what every command has."""


class Row(NamedTuple):
    head: "Text"
    """Names and metavar of an option, or the name of a command."""
    help_text: "Text"


class PanelledCommand(TyperCommand):
    """A command whose help is `help_of` it."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(help_of(self, ctx, EVERYWHERE))


def help_of(command: TyperCommand | TyperGroup, ctx: Any, rest: str) -> str:
    """The help of a command; options that name no panel of their own go to the panel `rest`."""
    from rich.console import Console, Group
    from rich.panel import Panel

    console = Console(highlight=False)
    console.width = min(console.width, WIDEST)
    usage = f"Usage: `{' '.join((ctx.command_path, *command.collect_usage_pieces(ctx)))}`"
    with console.capture() as capture:
        for paragraph in (usage, *(command.help or "").split("\n\n")):
            console.print(_prose(paragraph), end="\n\n")
        for panels in (_options(command, ctx, rest), _commands(command, ctx)):
            inside = console.width - BORDER
            left = _left(panels, inside)
            for title, rows in panels.items():
                lines = [line for row in rows for line in _lines_of(row, left, inside)]
                console.print(Panel(Group(*lines), title=title, title_align="left", border_style="dim"))
        console.print()
        for line in (command.epilog or "").splitlines():
            if line.startswith(" "):
                console.print(_example(line, console.width), soft_wrap=True)
            else:
                console.print(_prose(line))
    return capture.get()


def _options(command: TyperCommand | TyperGroup, ctx: Any, rest: str) -> dict[str, list[Row]]:
    """Title -> its options and arguments in order; `rest` is the last."""
    panels: dict[str, list[Row]] = {}
    shown = [param for param in command.get_params(ctx) if not getattr(param, "hidden", False)]
    titled = [(getattr(param, "rich_help_panel", None) or rest, param) for param in shown]
    for title, param in sorted(titled, key=lambda pair: pair[0] == rest):
        panels.setdefault(title, []).append(Row(_head(param), _prose(getattr(param, "help", None) or "")))
    return panels


def _commands(command: TyperCommand | TyperGroup, ctx: Any) -> dict[str, list[Row]]:
    """Title -> its commands, where the command is a group of them."""
    from rich.text import Text

    panels: dict[str, list[Row]] = {}
    for name in command.list_commands(ctx) if isinstance(command, TyperGroup) else ():
        listed: Any = command.get_command(ctx, name)  # pyrefly: ignore[missing-attribute]
        panels.setdefault(listed.rich_help_panel, []).append(Row(Text(name, "bold cyan"), _prose(listed.help)))
    return panels


def _head(param: Any) -> "Text":
    """`--slowfast/--no-slowfast`, `--output DIR`, `-h, --help` or `MEDIA`."""
    from rich.text import Text

    if param.param_type_name == "argument":
        return Text(param.metavar or param.name.upper(), "bold yellow")
    on = sorted(param.opts, key=lambda name: name.startswith("--"))
    head = Text("/".join(filter(None, (", ".join(on), ", ".join(param.secondary_opts)))), "bold cyan")
    return head.append(f" {param.metavar}", "yellow") if param.metavar else head


def _prose(text: str) -> "Text":
    """What stands between backticks is bold, and the backticks are gone."""
    from rich.text import Text

    shown = Text()
    for words, quoted in re.findall(r"([^`]+)|`([^`]*)`", " ".join(text.split())):
        shown.append(words or quoted, "bold" if quoted else "")
    return shown


def _left(panels: dict[str, list[Row]], width: int) -> int:
    """Columns of the names: one number for all panels: the help of all of them begins in one column."""
    most = min(NAMES_WIDTH, width // 2)
    heads = [len(row.head) for rows in panels.values() for row in rows]
    return max((length for length in heads if length <= most), default=GAP)


def _lines_of(row: Row, left: int, width: int) -> list["Text"]:
    from rich.console import Console
    from rich.text import Text

    measure = Console(width=width)
    lines = list(row.head.wrap(measure, width, overflow="fold"))
    help_text = list(row.help_text.wrap(measure, width - left - GAP, overflow="fold"))
    if help_text and len(lines[-1]) <= left:
        lines[-1].pad_right(left + GAP - len(lines[-1]))
        lines[-1].append_text(help_text.pop(0))
    return lines + [Text(" " * (left + GAP)).append_text(line) for line in help_text]


def _example(line: str, width: int) -> "Text":
    """A command that is wider than the terminal goes on below, as a shell reads it."""
    from rich.text import Text

    unit = re.sub(r" (?!-)", "\xa0", line.strip())  # an option and its value stay on one line
    wrapped = textwrap.wrap(unit, width - 6, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return Text("\n".join("  " + part for part in " \\\n".join(wrapped).replace("\xa0", " ").splitlines()), "bold")
