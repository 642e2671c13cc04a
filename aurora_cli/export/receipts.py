"""What an export remembers of how it was made, beside its weights, so that a second convert is a no-op."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aurora_cli.checkpoints.fingerprint import FACTS_FILE, stamps
from aurora_cli.io.atomic import read_json, write_json

CARD_FILE = "README.md"
"""Written once; what a user makes of it does not make the export another one."""

SCHEMA = 1


def sizes(folder: Path) -> dict[str, int]:
    """The files of an export with their sizes."""
    return {
        str(file.relative_to(folder)): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in (FACTS_FILE, CARD_FILE)
    }


def write(folder: Path, facts: Mapping[str, Any]) -> None:
    write_json(folder / FACTS_FILE, {"schema": SCHEMA, **facts})


def read(folder: Path) -> dict[str, Any] | None:
    """None if `folder` is not an export of ours."""
    try:
        facts = read_json(folder / FACTS_FILE)
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and facts.get("schema") == SCHEMA and "receipt" in facts else None


def is_current(folder: Path, facts: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether the export was made as asked, of files that have not changed since, and is still whole."""
    receipt = facts["receipt"]
    return (
        receipt["asked"] == dict(asked)
        and receipt["sources"] == stamps(Path(name) for name in receipt["sources"])
        and receipt["files"] == sizes(folder)
    )
