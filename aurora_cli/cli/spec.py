"""What a command is: a name, the settings that its flags set, examples, and the step that it calls.

Flags carry no defaults: a flag that is not given leaves its setting to the other sources, and what `--help` shows as
the default is read from the settings tree.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aurora_cli.config import fields
from aurora_cli.config.settings import Settings
from aurora_cli.pipeline.result import Result

Step = Callable[..., Result]


@dataclass(frozen=True)
class Heading:
    """Opens a panel of `--help`: a task, and the flags up to the next heading are what it takes."""

    title: str


@dataclass(frozen=True)
class Flag:
    """One option or argument, and the setting it sets.

    `names` are as typed; empty for a positional argument. A switch that is on by default gets a `--no-` name too.
    """

    path: str
    names: tuple[str, ...] = ()
    metavar: str | None = None
    needs: str | None = None
    """Another flag of the command; where its setting is none, this one would do nothing and is refused."""
    useless_with: str | None = None
    """Another one; where its setting is there, this one would do nothing and is refused."""

    @property
    def name(self) -> str:
        """As it is typed, or shown where only its value is."""
        return self.names[0] if self.names else self.metavar or self.path

    @property
    def parameter(self) -> str:
        """A Python name, unique within the command."""
        return self.path.replace(".", "__")

    @property
    def setting(self) -> fields.Setting:
        return fields.lookup(self.path)

    @property
    def switch(self) -> bool:
        return self.setting.annotation is bool

    @property
    def declarations(self) -> list[str]:
        """The names in typer's notation."""
        if self.switch and self.setting.default is not False:
            return [f"{self.names[0]}/--no-{self.names[0].removeprefix('--')}"]
        return list(self.names)

    @property
    def help(self) -> str:
        """The setting's docstring, and its default where the docstring does not explain what none means."""
        default = shown_default(self.setting)
        return f"{self.setting.help} (default: {default})" if default else self.setting.help


@dataclass(frozen=True)
class CommandSpec:
    """One command of the command line."""

    name: str
    module: str
    """Below `aurora_cli`; its `run` is the step. A name, so that only the command that runs is imported."""
    options: tuple[Heading | Flag, ...]
    """In the order of `--help`, each task's under its heading."""
    examples: tuple[str, ...]
    about: str = ""
    """A paragraph for `--help`, after the summary."""
    ignored: tuple[str, ...] = ()
    """Options that a launcher adds to the command line and that change nothing; not shown."""
    with_origins: bool = False
    """Its step takes the `Resolved`: what was said counts by who said it."""
    workspace: str | None = None
    """The workspace when none is named, where it is not the current folder."""
    keeps_work: Callable[[Settings], bool] = lambda settings: True
    """Whether what was done before an interrupt is there afterwards."""

    @property
    def flags(self) -> tuple[Flag, ...]:
        return tuple(option for option in self.options if isinstance(option, Flag))

    @property
    def panels(self) -> dict[str, list[Flag]]:
        """Heading -> its flags.

        >>> spec = CommandSpec("x", "y", (Heading("Where to"), Flag("download.output", ("--output",))), ())
        >>> [(title, [flag.path for flag in flags]) for title, flags in spec.panels.items()]
        [('Where to', ['download.output'])]
        """
        panels: dict[str, list[Flag]] = {}
        title = ""
        for option in self.options:
            if isinstance(option, Heading):
                title = option.title
            else:
                panels.setdefault(title, []).append(option)
        return panels


def shown_default(setting: fields.Setting) -> str:
    """A default as a person reads it.

    >>> shown_default(fields.lookup("tokenize.batch_size")), shown_default(fields.lookup("train.run_dir"))
    ('100000', '')
    """
    value = setting.default
    if value is None or value is False:
        return ""
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value)
    return "on" if value is True else str(value)
