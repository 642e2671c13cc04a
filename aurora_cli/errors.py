"""The errors that a user can cause or meet, by what the shell sees of them.

    AuroraError
    |- UsageError        2  the command or its settings are wrong
    |  `- SettingsError      one or more settings, each with its path and source
    |- DataError         3  input data or a checkpoint is missing or bad
    |- HostError         4  the network, the disk, a port, a library
    |  `- DiskError          something cannot be written there
    `- Interrupted     130  asked to stop; the work so far is safe

Anything else that escapes is a bug: exit 1.
"""

from pathlib import Path

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_DATA = 3
EXIT_ENVIRONMENT = 4
EXIT_INTERRUPTED = 130


class AuroraError(Exception):
    """An expected failure: which thing, what it is, what was expected; `hint` is what to type next."""

    exit_code = EXIT_BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class UsageError(AuroraError):
    """The command line or the settings ask for something that cannot be."""

    exit_code = EXIT_USAGE


class SettingsError(UsageError):
    """Settings that do not validate; the message names each by its dotted path."""


class DataError(AuroraError):
    """Input data or a checkpoint is missing, damaged or inconsistent."""

    exit_code = EXIT_DATA


class HostError(AuroraError):
    """The machine or the network does not provide what is needed: disk, port, hub, library."""

    exit_code = EXIT_ENVIRONMENT


class DiskError(HostError):
    """A disk does not take what is to be written at `path`, for `reason`."""

    def __init__(self, path: Path, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path}: {reason}", hint=hint)
        self.path = path
        self.reason = reason
        self.args = path, reason  # of which it is made again in another process


class Interrupted(AuroraError):
    """Stopped on request, after making the work so far safe."""

    exit_code = EXIT_INTERRUPTED


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of a device, or main memory, did not suffice: by name, so that torch need not be there.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def reason_of(error: BaseException) -> str:
    """What another's error says, in a line: of the system's, and FFmpeg's, without its number and file.

    >>> reason_of(PermissionError(13, "Permission denied", "a.jsonl")), reason_of(ValueError("no number\\nat all"))
    ('Permission denied', 'no number')
    """
    message = getattr(error, "strerror", None) or str(error)
    return (message.strip().splitlines() or [type(error).__name__])[0]
