"""How a command becomes one of typer's: parse words, resolve settings, call the step once, report."""

import inspect
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from aurora_cli.cli.commands import SPECS
from aurora_cli.cli.console import ConsoleReporter, QuietReporter, emit
from aurora_cli.cli.help import EVERYWHERE, PanelledCommand
from aurora_cli.cli.spec import CommandSpec, Flag, Step
from aurora_cli.cli.table import COMMANDS
from aurora_cli.config.resolve import Resolved, resolve
from aurora_cli.config.settings import Settings
from aurora_cli.console import SILENT
from aurora_cli.errors import Interrupted, UsageError


def build_command(name: str) -> PanelledCommand:
    """The typer command of this name."""
    spec = SPECS[name]
    panel, summary = COMMANDS[name]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(
        name,
        cls=PanelledCommand,
        help="\n\n".join(filter(None, (summary, spec.about))),
        epilog="\n  ".join(("Examples:", *spec.examples)),
        rich_help_panel=panel,
        context_settings={"help_option_names": ["-h", "--help"]},
    )(_function(spec))
    command = typer.main.get_command(app)
    assert isinstance(command, PanelledCommand)
    return command


def load_step(spec: CommandSpec) -> Step:
    """The function that the command calls: now it is imported, and it alone."""
    return import_module(f"aurora_cli.{spec.module}").run


def _function(spec: CommandSpec) -> Callable[..., None]:
    """What typer calls, with the signature that it reads options from."""

    def command(**given: Any) -> None:
        code = _execute(spec, given)
        if code:
            raise typer.Exit(code)

    titled = [parameter_of(flag, title) for title, flags in spec.panels.items() for flag in flags]
    parameters = [*titled, *_COMMON]
    if spec.ignored:
        parameters.append(_keyword("ignored", str | None, None, typer.Option(*spec.ignored, hidden=True)))
    command.__signature__ = inspect.Signature(parameters)  # pyrefly: ignore[missing-attribute]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _execute(spec: CommandSpec, given: Mapping[str, Any]) -> int:
    resolved = _resolve(spec, given)
    _check_company(spec, given, resolved)
    worker = int(os.environ.get("RANK", "0")) > 0
    step = load_step(spec)
    reporter = None
    if not worker:
        reporter = QuietReporter() if given["quiet"] else _console_reporter(given, resolved.settings)
    try:
        given_to_step = resolved if spec.with_origins else resolved.settings
        result = step(given_to_step, reporter or SILENT, dry_run=given["dry_run"])
    except KeyboardInterrupt:
        raise _interrupted(is_kept=not given["dry_run"] and spec.keeps_work(resolved.settings)) from None
    if reporter is not None:
        emit(result, given["as_json"], reporter.streamed)
    return result.exit_code


def _interrupted(*, is_kept: bool) -> Interrupted:
    if not is_kept:
        return Interrupted("interrupted; nothing was written", hint="Run the same command again: it begins anew.")
    return Interrupted("interrupted; the work so far is safe", hint="Run the same command again to continue.")


def _console_reporter(given: Mapping[str, Any], settings: Settings) -> ConsoleReporter:
    return ConsoleReporter(streams=not given["as_json"], live=settings.train.live)


def _resolve(spec: CommandSpec, given: Mapping[str, Any]) -> Resolved:
    flags: dict[str, tuple[str, Any]] = {}
    for flag in spec.flags:
        value = given[flag.parameter]
        if value is not None and value != []:
            flags[flag.path] = (flag.name, value)
    for path in ("workspace", "preset"):
        if given[path] is not None:
            flags[path] = (f"--{path}", given[path])
    if spec.workspace and "workspace" not in flags and "AURORA_WORKSPACE" not in os.environ:
        flags["workspace"] = (f"aurora {spec.name}", spec.workspace)
    config = given["config"]
    return resolve(flags, given["assignments"] or (), None if config is None else Path(config))


def _check_company(spec: CommandSpec, given: Mapping[str, Any], resolved: Resolved) -> None:
    """Raise UsageError for a flag that does nothing without another one, or with it (then `--set` says it, too)."""
    by_name, settings = {flag.name: flag for flag in spec.flags}, resolved.settings
    for flag in spec.flags:
        is_given = bool(given[flag.parameter])
        if is_given and flag.needs is not None and _is_none(by_name[flag.needs], settings):
            needed = by_name[flag.needs]
            raise UsageError(
                f"{flag.name}: does nothing without {needed.name}",
                hint=f"aurora {spec.name} {needed.name} {needed.metavar} {flag.name}",
            )
        is_typed = is_given or resolved.origin(flag.path) == "--set"
        if is_typed and flag.useless_with is not None and not _is_none(by_name[flag.useless_with], settings):
            raise UsageError(f"{flag.name}: does nothing with {flag.useless_with}", hint="Leave one of them out.")


def _is_none(flag: Flag, settings: Settings) -> bool:
    return attrgetter(flag.path)(settings) is None


def parameter_of(flag: Flag, title: str) -> inspect.Parameter:
    """A flag as the parameter that typer makes an option or an argument of, in the panel `title`; default: none."""
    annotation: Any = list[str] if flag.setting.many else bool if flag.switch else str
    kind = flag.setting.kind
    metavar = flag.metavar or ("" if flag.switch else kind if flag.setting.choices else kind.upper())
    names = flag.declarations
    make = typer.Option if names else typer.Argument
    info = make(*names, help=flag.help, metavar=metavar, show_default=False, rich_help_panel=title)
    return _keyword(flag.parameter, annotation | None, None, info)


def _keyword(name: str, annotation: Any, default: Any, info: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, info]
    )


def _common(name: str, annotation: Any, default: Any, *names: str, metavar: str = "", help: str) -> inspect.Parameter:
    info = typer.Option(*names, rich_help_panel=EVERYWHERE, show_default=False, metavar=metavar, help=help)
    return _keyword(name, annotation, default, info)


_COMMON = (
    _common("workspace", str | None, None, "--workspace", metavar="DIR", help="Folder that relative paths start from."),
    _common("preset", str | None, None, "--preset", metavar="NAME|FILE", help="Of `aurora presets`, or a file."),
    _common("config", str | None, None, "--config", metavar="FILE", help="Settings, above those of aurora.yaml."),
    _common(
        "assignments", list[str] | None, None, "--set", metavar="KEY=VALUE", help="Any setting by its dotted path."
    ),
    _common("dry_run", bool, False, "--dry-run", help="Show what would happen; touch nothing."),
    _common("as_json", bool, False, "--json", help="Print exactly one JSON object."),
    _common("quiet", bool, False, "--quiet", help="No progress and no logs, only warnings."),
    _common("debug", bool, False, "--debug", help="Show tracebacks."),
)
