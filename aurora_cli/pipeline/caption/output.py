"""The JSONL file of captions: a line a medium, added as they come, so that a stopped run goes on where it was."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.errors import UsageError
from aurora_cli.io.atomic import atomic_write, disk_errors, open_to_append

_BEGIN = b'{"media": '


def check_output(path: Path) -> None:
    """
    Raises:
        UsageError: `path` is a folder, or holds something else than captions, which would be lost.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, where a file was expected", hint=f"--output {path}/captions.jsonl")
    if path.is_file():
        with open(path, "rb") as file:
            if not _BEGIN.startswith(file.read(len(_BEGIN))):  # shorter where the first line is torn, or there is none
                raise UsageError(
                    f"{path}: holds something that `aurora caption` did not write, and would be replaced",
                    hint="Name another --output.",
                )


class CaptionLines:
    """The captions in one file, and the media that could not be captioned, listed beside it."""

    def __init__(self, path: Path, made_by: str) -> None:
        """`made_by` names model and settings: lines that others made are replaced."""
        self.path = path
        self.made_by = made_by
        lines = _read(path)
        self.done = {line["media"]: line for line in lines if line.get("made_by") == made_by}
        self.replaced = len(lines) - len(self.done)
        if self.replaced or _is_torn(path):
            _rewrite(path, self.done.values())

    def add(self, lines: Iterable[dict[str, Any]]) -> None:
        """Durable when this returns."""
        with disk_errors(self.path), open_to_append(self.path) as file:
            for line in lines:
                self.done[line["media"]] = line
                file.write(_text(line))
            file.flush()
            os.fsync(file.fileno())

    def reject(self, rejected: list[dict[str, str]]) -> None:
        """List what this run could not caption; what other outputs in the folder list stays."""
        path = self.path.parent / REJECTS_FILE
        others = [line for line in _read(path) if line.get("output") != self.path.name]
        lines = [*others, *({**line, "output": self.path.name} for line in rejected)]
        if lines:
            _rewrite(path, lines)
        else:
            path.unlink(missing_ok=True)


def _read(path: Path) -> list[dict[str, Any]]:
    """The whole lines; the last one may be torn."""
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _is_torn(path: Path) -> bool:
    return path.is_file() and not path.read_bytes().endswith(b"\n")


def _rewrite(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    with atomic_write(path, "w") as file:
        file.writelines(map(_text, lines))


def _text(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"
