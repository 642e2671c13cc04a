"""What a run writes line by line: metrics.jsonl and rejected.jsonl. Each line has its step: a resumed run cuts back."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aurora_cli.io.atomic import atomic_write, disk_errors


def append_lines(path: Path, lines: list[Mapping[str, Any]]) -> None:
    """Add lines to the end; no fsync: a tiny model's step is shorter than one."""
    with disk_errors(path), open(path, "a", encoding="utf-8") as file:
        file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; a last one that a crash cut short is left out. No file: none."""
    if not path.is_file():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return


def cut_back(path: Path, step: int) -> None:
    """Remove the lines of all steps after `step`."""
    if not path.is_file():
        return
    with atomic_write(path, "w") as file:
        for line in read_lines(path):
            if line["step"] <= step:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
