"""The JSONL file of captions: a line a medium, added as they come, so that a stopped run goes on where it was."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from aurora_cli.captioning.result import Caption, Uncaptioned
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.errors import UsageError
from aurora_cli.io.atomic import atomic_write, disk_errors, open_to_append, write_json
from aurora_cli.io.json_files import JsonObject

_BEGIN = b'{"media": '
_CAPTION = TypeAdapter(Caption)


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


class CaptionOutput:
    """Where captions go: by itself nowhere, they are in the command's result alone."""

    replaced = 0
    """Captions in the file that others made."""

    def __init__(self) -> None:
        self.done: dict[str, Caption] = {}
        """Medium -> its caption, of those that the file holds."""

    def add(self, captions: Iterable[Caption]) -> None:
        """Write captions; durable when this returns."""

    def close(self, uncaptioned: Sequence[Uncaptioned], settings: JsonObject) -> None:
        """List what this run could not caption, and note the settings that it had."""


class CaptionFile(CaptionOutput):
    """Captions in one file, and the media that could not be captioned, listed beside it."""

    def __init__(self, path: Path, made_by: str) -> None:
        """`made_by` names model and settings: lines that others made are replaced."""
        super().__init__()
        self.path = path
        self.made_by = made_by
        lines = _read(path)
        for line in lines:
            if line.get("made_by") == made_by and (caption := _caption(line)) is not None:
                self.done[caption.media] = caption
        self.replaced = len(lines) - len(self.done)
        if self.replaced or _is_torn(path):
            _rewrite(path, map(self._line, self.done.values()))

    def add(self, captions: Iterable[Caption]) -> None:
        with disk_errors(self.path), open_to_append(self.path) as file:
            for caption in captions:
                self.done[caption.media] = caption
                file.write(_text(self._line(caption)))
            file.flush()
            os.fsync(file.fileno())

    def close(self, uncaptioned: Sequence[Uncaptioned], settings: JsonObject) -> None:
        """Other outputs may lie in the same folder: what is listed there of them stays."""
        path = self.path.parent / REJECTS_FILE
        others = [line for line in _read(path) if line.get("output") != self.path.name]
        lines = [*others, *({**asdict(each), "output": self.path.name} for each in uncaptioned)]
        if lines:
            _rewrite(path, lines)
        else:
            path.unlink(missing_ok=True)
        write_json(self.path.with_name(f"{self.path.name}.settings.json"), settings)

    def _line(self, caption: Caption) -> JsonObject:
        return {**asdict(caption), "made_by": self.made_by}


def open_output(path: Path | None, made_by: str) -> CaptionOutput:
    """The output at `path`, with what it holds already; none: no file is written."""
    return CaptionOutput() if path is None else CaptionFile(path, made_by)


def _caption(line: JsonObject) -> Caption | None:
    try:
        return _CAPTION.validate_python(line)
    except ValidationError:
        return None


def _read(path: Path) -> list[JsonObject]:
    """The whole lines; the last one may be torn."""
    if not path.is_file():
        return []
    lines: list[JsonObject] = []
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):  # a caption may hold other line ends
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _is_torn(path: Path) -> bool:
    return path.is_file() and not path.read_bytes().endswith(b"\n")


def _rewrite(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    with atomic_write(path, "w") as file:
        file.writelines(map(_text, lines))


def _text(line: Mapping[str, object]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"
