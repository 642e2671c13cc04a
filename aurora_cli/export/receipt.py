"""What an export says of its making, so that a second convert is a no-op."""

from pathlib import Path
from typing import ClassVar

from aurora_cli.checkpoints.facts import FACTS_FILE, ConvertRequest, ExportFacts, Receipt, file_stamps
from aurora_cli.config.settings import ModelSettings
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import StoredModel

CARD_FILE = "README.md"
"""Written once; what a user makes of it does not make the export another one."""

SETTINGS_FILE = "settings.json"


class ExportSettings(StoredModel):
    """The resolved settings beside an export."""

    WHAT: ClassVar[str] = "the settings of an export"

    convert: ConvertRequest
    model: ModelSettings
    """That of the weights, which counts before the settings'."""


def read_facts(folder: Path) -> ExportFacts | None:
    """What an export of ours says of itself; none if `folder` is something else."""
    try:
        return ExportFacts.read_if_there(folder / FACTS_FILE)
    except DataError:
        return None


def file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file of an export, by its path in it."""
    return {
        str(file.relative_to(folder)): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in (FACTS_FILE, CARD_FILE)
    }


def is_current(folder: Path, receipt: Receipt, request: ConvertRequest) -> bool:
    """Whether the export was made as requested, of files that have not changed since, and is still whole."""
    return (
        receipt.request == request
        and receipt.sources == file_stamps(Path(name) for name in receipt.sources)
        and receipt.files == file_sizes(folder)
    )
