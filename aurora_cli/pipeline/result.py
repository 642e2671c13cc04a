"""What a step did: a frozen value that the command line prints as lines or as JSON."""

from dataclasses import dataclass

from aurora_cli.errors import EXIT_OK


@dataclass(frozen=True)
class Result:
    """Base of every step's result. The fields are what `--json` prints."""

    def lines(self) -> list[str]:
        """What a person reads on stdout, a fact a line."""
        raise NotImplementedError

    @property
    def exit_code(self) -> int:
        """0, or what the shell shall see although the step came to its end (3: some input was bad, and listed)."""
        return EXIT_OK
