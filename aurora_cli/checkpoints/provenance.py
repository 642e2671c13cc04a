"""What a stage was trained on, as far as the workspace still says it: its folders of text, their files, their terms."""

from pathlib import Path
from typing import Any

from aurora_cli.data.download.origins import recorded_origins, to_record
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import read_json
from aurora_cli.runs.layout import RESUME_FOLDER, STATE_FILE

MANIFEST_FILE = "manifest.json"


def data_of(step: Path, root: Path | None) -> list[dict[str, Any]]:
    """The data of the stage that wrote the checkpoint `step`: folder, weight, records, files, origins.

    What is no longer there, or was never recorded, is left out: a card with gaps is better than no export.
    """
    state = _object(step / RESUME_FOLDER / STATE_FILE)
    folders = (state.get("recipe") or {}).get("data folders") or []
    roots = [root] if root is not None else list(step.resolve().parents)
    found: list[dict[str, Any]] = []
    for name, weight, records in folders:
        workspace = next((each for each in roots if (each / name).exists()), roots[0])
        manifest = _object(workspace / name / MANIFEST_FILE)
        files = [{key: file.get(key) for key in ("path", "sha256")} for file in manifest.get("inputs", ())]
        media_root = manifest.get("media_root")
        found.append(
            {
                "folder": name,
                "weight": weight,
                "records": records,
                "files": files,
                "origins": [] if media_root is None else _origins(workspace / media_root),
            }
        )
    return found


def _origins(folder: Path) -> list[dict[str, Any]]:
    try:
        recorded = recorded_origins(folder)
    except (DataError, TypeError):  # a list of another version
        return []
    return [entry for origins in recorded.values() for entry in to_record(origins)]


def _object(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
