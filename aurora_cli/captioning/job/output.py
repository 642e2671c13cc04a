"""The JSONL file of captions: a line a medium, added as they come, so that a stopped run goes on where it was."""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from aurora_cli.captioning.job.caption_keys import CaptionKeys
from aurora_cli.captioning.job.key_hashes import CaptionKey, hashes_of
from aurora_cli.captioning.job.stored_lines import LineBlock, cut_torn_line, hashes_in, stored_blocks
from aurora_cli.captioning.result import Caption, Uncaptioned
from aurora_cli.constants import REJECTS_FILE, SETTINGS_SUFFIX
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.atomic import atomic_write, disk_errors, open_to_append, write_json
from aurora_cli.io.json_files import JsonObject, read_object
from aurora_cli.io.locks import lock_output
from aurora_cli.io.prefetch import mapped_ahead

_BEGIN = b'{"media": '
_LONGEST_LINE = 1 << 24
_CAPTION = TypeAdapter(Caption)


def key_of(caption: Caption) -> CaptionKey:
    """What it is a caption of."""
    return caption.media, caption.id, caption.span, caption.prompt


def check_output(path: Path) -> None:
    """
    Raises:
        UsageError: `path` is a folder, or holds something else than captions, which would be lost.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, where a file was expected", hint=f"--output {path}/captions.jsonl")
    if path.is_file() and not _begins_as_captions(path):
        raise UsageError(
            f"{path}: holds something that `aurora caption` did not write, and would be replaced",
            hint="Name another --output.",
        )


def _begins_as_captions(path: Path) -> bool:
    """The first line may be torn, or there is none."""
    with open(path, "rb") as file:
        first = file.readline(_LONGEST_LINE)
    if not first.startswith(_BEGIN[: len(first)]):
        return False
    try:
        return "made_by" in json.loads(first)
    except ValueError:
        return not first.endswith(b"\n")


class CaptionOutput:
    """Where captions go: by itself nowhere, they are in the command's result alone."""

    replaced = 0
    """Captions in the file that others made."""
    with_lines = False
    """Whether it has to know in which line of a list a row stands."""

    def __init__(self) -> None:
        self.keys = CaptionKeys(with_lines=self.with_lines)
        """What the file holds captions of, and what this run has come by."""

    def expect(self, key: CaptionKey, line: int) -> None:
        """A row is going to be captioned, which stands in this line of the list of media."""

    def held(self, wanted: Collection[CaptionKey]) -> Iterator[Caption]:
        """The captions of these that the file holds."""
        yield from ()

    def add(self, captions: Iterable[Caption]) -> None:
        """Write captions; durable when this returns."""

    def settings_before(self) -> JsonObject:
        """Those of the run that made what is there; empty, if it was not ended or there is nothing."""
        return {}

    def close(self, uncaptioned: Sequence[Uncaptioned], settings: JsonObject, total: int) -> None:
        """List what this run could not caption of so many media, and note the settings that it had."""


class CaptionFile(CaptionOutput):
    """Captions in one file, and the media that could not be captioned, listed beside it."""

    def __init__(self, path: Path, made_by: str, rows: int = 0) -> None:
        """`made_by` names model and settings: lines that others made are replaced. About so many `rows` are to come."""
        super().__init__()
        self.keys.reserve(rows)
        self.path = path
        self.made_by = made_by
        cut_torn_line(path)
        for number, (block, hashes) in enumerate(mapped_ahead(self._hashed, stored_blocks(path))):
            if number == 0:
                self.keys.reserve(path.stat().st_size * block.count // len(block.raw))
            if hashes is None:
                captions = [self._own(line) for line in map(parsed, block.lines)]
                hashes = hashes_of(key_of(caption) for caption in captions if caption is not None)
                self.replaced += len(block.lines) - block.count
            before = self.keys.add(hashes)
            self.replaced += block.count - len(hashes) + int(before.sum())
        if self.replaced:
            rewrite(path, map(self._line, self._each_once()))

    def _hashed(self, block: LineBlock) -> tuple[LineBlock, np.ndarray | None]:
        return block, hashes_in(block, self.made_by)

    def _each_once(self) -> Iterator[Caption]:
        """The captions that the file holds, without those that others made, and each key once."""
        seen = CaptionKeys()
        for caption in map(self._own, read_lines(self.path)):
            if caption is not None and not seen.add(hashes_of([key_of(caption)]))[0]:
                yield caption

    def held(self, wanted: Collection[CaptionKey]) -> Iterator[Caption]:
        left = {*wanted}
        for line in read_lines(self.path) if left else ():
            caption = self._own(line)
            if caption is not None and key_of(caption) in left:
                left.remove(key_of(caption))
                yield caption

    def add(self, captions: Iterable[Caption]) -> None:
        added: list[CaptionKey] = []
        with disk_errors(self.path), open_to_append(self.path) as file:
            for caption in captions:
                file.write(_text(self._line(caption)))
                added.append(key_of(caption))
            file.flush()
            os.fsync(file.fileno())
        self.keys.add(hashes_of(added))

    def settings_before(self) -> JsonObject:
        return _stored_settings(_settings_of(self.path))

    def close(self, uncaptioned: Sequence[Uncaptioned], settings: JsonObject, total: int) -> None:
        list_rejects(self.path, map(stored, uncaptioned))
        write_settings(self.path, settings)

    def _line(self, caption: Caption) -> JsonObject:
        return {**stored(caption), "made_by": self.made_by}

    def _own(self, line: JsonObject) -> Caption | None:
        """The caption of a line, if it was made so."""
        if line.get("made_by") != self.made_by:
            return None
        try:
            return _CAPTION.validate_python(line)
        except ValidationError:
            return None


def list_rejects(output: Path, rejected: Iterable[JsonObject]) -> None:
    """List what could not be captioned beside `output`.

    Other outputs may lie in the same folder, and end at the same time: what is listed there of them stays.
    """
    path = output.parent / REJECTS_FILE
    with lock_output(path, "aurora caption", wait=True):
        others = [line for line in read_lines(path) if line.get("output") != output.name]
        lines = [*others, *({**line, "output": output.name} for line in rejected)]
        if lines:
            rewrite(path, lines)
        else:
            path.unlink(missing_ok=True)


def write_settings(output: Path, settings: JsonObject) -> None:
    """Note how the captions of `output` were made."""
    write_json(_settings_of(output), settings)


def _stored_settings(path: Path) -> JsonObject:
    """They only explain: a file that cannot be read says nothing."""
    try:
        return read_object(path)
    except DataError:
        return {}


def _settings_of(output: Path) -> Path:
    return output.with_name(f"{output.name}{SETTINGS_SUFFIX}")


def differences(before: JsonObject, now: JsonObject, within: str = "") -> Iterator[str]:
    """What two runs' settings differ in; what an older aurora did not note was none.

    >>> list(differences({"frames": 8, "decoding": {"seed": 0}}, {"frames": 4, "decoding": {"seed": 0}, "dtype": None}))
    ['frames was 8, is 4']
    """
    for name, new in now.items():
        old = before.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, f"{within}{name}.")
        elif old != new:
            yield f"{within}{name} was {_in_words(old)}, is {_in_words(new)}"


def _in_words(value: object) -> str:
    return "none" if value is None else str(value)


def stored(result: Caption | Uncaptioned) -> JsonObject:
    """Its fields, without those that only rows of a list have."""
    return {name: value for name, value in asdict(result).items() if value is not None}


def read_lines(path: Path) -> Iterator[JsonObject]:
    """The whole lines; the last one may be torn."""
    if not path.is_file():
        return
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:  # a caption may hold other line ends
        for text in file:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict):
                yield line


def parsed(text: bytes) -> JsonObject:
    """A line; empty, if it is no object."""
    try:
        line = json.loads(text.decode("utf-8", "replace"))
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def rewrite(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    with atomic_write(path, "w") as file:
        file.writelines(map(_text, lines))


def _text(line: Mapping[str, object]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"
