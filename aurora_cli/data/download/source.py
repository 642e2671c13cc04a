"""Where files are fetched from: what a hub and a mirror both offer."""

from typing import Protocol

from aurora_cli.console import Advance
from aurora_cli.data.download.manifest import RemoteFile
from aurora_cli.data.download.origin import Origin
from aurora_cli.data.download.partial_file import PartialFile
from aurora_cli.errors import HostError


class WrongBytes(HostError):
    """The source keeps sending other bytes than it lists."""


class Source(Protocol):
    """Where a data set comes from."""

    name: str
    """As the user wrote it."""
    commit: str
    """The exact state that is fetched; empty if the source has none."""

    def files(self) -> list[RemoteFile]:
        """Every file of the data set."""
        ...

    def origins(self, subset: str) -> tuple[Origin, ...]:
        """The data sets that `<split>/<subset>` was taken from, with their licences; none: nothing is known."""
        ...

    def equality(self, file: RemoteFile) -> str | None:
        """A key that files of equal content share; none: compare nothing with this one."""
        ...

    def sha256(self, file: RemoteFile) -> str | None:
        """The hash of the file at the source, if it can be had without fetching it."""
        ...

    def read(self, file: RemoteFile, into: PartialFile, advance: Advance) -> None:
        """Append what is missing, or part of it.

        Raises:
            TransientError: worth another try
            HostError: not worth one
        """
        ...
