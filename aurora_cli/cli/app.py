"""`aurora`: a table of commands, each loaded as it runs, and a boundary where errors become lines and exit codes."""

import contextlib
import difflib
import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

import aurora_cli
from aurora_cli.cli.table import COMMANDS
from aurora_cli.errors import (
    EXIT_BUG,
    EXIT_OK,
    EXIT_USAGE,
    AuroraError,
    HostError,
    UsageError,
    is_out_of_memory,
    reason_of,
)
from aurora_cli.imports import in_own_process
from aurora_cli.io.atomic import NO_ROOM

_OF_THE_SYSTEM = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP),
    *(errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EMFILE, errno.ENFILE),
)
"""What is forbidden, what is in the way of a name, and what a disk or the machine does not do."""


class LazyGroup(TyperGroup):
    """Lists commands from the table above and imports one only to run it or to show its help."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        if cmd_name not in COMMANDS:
            return None
        panel, summary = COMMANDS[cmd_name]
        return TyperCommand(cmd_name, help=summary, rich_help_panel=panel)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from aurora_cli.cli.help import help_of

        formatter.write(help_of(self, ctx, "Options"))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name = args[0]
        if name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            meant = f"Did you mean `aurora {close[0]}`?" if close else "`aurora --help` lists the commands."
            raise UsageError(f"aurora {name}: there is no such command", hint=meant)
        from aurora_cli.cli.builder import build_command

        return name, build_command(name), args[1:]


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with `aurora demo`, or with `aurora download --dry-run`.",
)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"aurora {aurora_cli.__version__}")
        raise typer.Exit


@app.callback()
def aurora(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """From the published AuroraCap training set to a video captioner that runs in plain transformers."""


def main() -> None:
    """The console script."""
    in_own_process()
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing but a `SystemExit` of a worker escapes."""
    if args and args[0].startswith("--local_rank="):  # `deepspeed --module aurora_cli train` puts it first
        args = args[1:]
    debug, as_json = "--debug" in args, "--json" in args
    with contextlib.suppress(ValueError):  # not the main thread: then nobody sends us signals either
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = typer.main.get_command(app).main(args=list(args), prog_name="aurora", standalone_mode=False)
    except AuroraError as error:
        return _fail(error.message, error.hint, error.exit_code, debug, as_json)
    except BrokenPipeError:  # `aurora ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:
        return _fail_unexpected(error, debug, as_json)
    return code if isinstance(code, int) else EXIT_OK


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _fail_unexpected(error: Exception, debug: bool, as_json: bool) -> int:
    show = getattr(error, "show", None)
    if show is not None and hasattr(error, "exit_code"):  # typer's own: a flag that does not exist, a missing value
        if as_json:
            return _fail(error.format_message(), None, EXIT_USAGE, debug, as_json)  # pyrefly: ignore[missing-attribute]
        show()
        return EXIT_USAGE
    if isinstance(error, OSError) and (ours := _of_the_system(error)) is not None:
        return _fail(ours.message, ours.hint, ours.exit_code, debug, as_json)
    if is_out_of_memory(error):
        hint = "Take less: --batch-size 1, fewer --frames, --device-map auto; before training, `aurora train --plan`."
        return _fail(f"memory does not suffice: {reason_of(error)}", hint, HostError.exit_code, debug, as_json)
    hint = None if debug else "This is a bug in aurora. --debug shows where; please report it."
    return _fail(f"{type(error).__name__}: {error}", hint, EXIT_BUG, debug, as_json)


def _of_the_system(error: OSError) -> AuroraError | None:
    """What went wrong with a file or a disk where no step foresaw it; None: it may be a bug."""
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{error.filename}: is too long for a name")
    reason, hint = NO_ROOM.get(error.errno or 0, (error.strerror, None))
    if hint is None and error.errno not in _OF_THE_SYSTEM:
        return None
    return HostError(f"{reason}" if error.filename is None else f"{error.filename}: {reason}", hint=hint)


def _fail(message: str, hint: str | None, code: int, debug: bool, as_json: bool) -> int:
    if debug:
        traceback.print_exc()
    if as_json:
        print(json.dumps({"error": message, "hint": hint, "exit_code": code}, ensure_ascii=False))
    print(f"error: {message}" if hint is None else f"error: {message}\n{hint}", file=sys.stderr)
    return code
