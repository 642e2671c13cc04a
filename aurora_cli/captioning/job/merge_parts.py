"""From the parts of a file of captions to the file: what one process would have written, in the order of the list."""

import heapq
import operator
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import ClassVar, NamedTuple

from aurora_cli.captioning.job.caption_keys import CaptionKeys
from aurora_cli.captioning.job.key_hashes import CaptionKey, hashes_of
from aurora_cli.captioning.job.output import list_rejects, read_lines, rewrite, write_settings
from aurora_cli.captioning.job.parts import KEY, LINE, MERGED_FILE, Part, PartReceipt, parts_folder, whole_parts
from aurora_cli.config.share import Share
from aurora_cli.errors import UsageError
from aurora_cli.io.json_files import JsonObject, StoredModel
from aurora_cli.io.locks import lock_output

BATCH = 4096


class MergedParts(StoredModel):
    """What the output was merged from."""

    WHAT: ClassVar[str] = "a record of merged parts"
    HINT: ClassVar[str | None] = "Remove it: the parts are merged again."

    parts: tuple[tuple[int, int, int], ...]
    """Of each part the bytes of its captions, when they were last written (ns), and how many media are missing."""
    made_from: tuple[str, str, int]
    """What all parts have in common."""
    captions: int
    size: int
    """Bytes of the output."""


class PartsState(NamedTuple):
    """What there is of the parts of an output."""

    count: int
    missing: tuple[int, ...]
    """Shares without a whole part."""
    different: tuple[int, ...]
    """Shares with a whole part of another list of media, another model, or other settings."""
    captions: int = 0
    """In the output, if all parts are there."""
    rejected: int = 0
    merged: bool = False
    """Whether this call has written the output."""

    @property
    def is_whole(self) -> bool:
        return not self.missing and not self.different


def check_replaceable(output: Path) -> None:
    """
    Raises:
        UsageError: the output holds captions that did not come from its parts, and would be lost.
    """
    if not output.is_file() or output.stat().st_size == 0:
        return
    merged = MergedParts.read_if_there(parts_folder(output) / MERGED_FILE)
    if merged is None or merged.size != output.stat().st_size:
        raise UsageError(
            f"{output}: holds captions that were not made in shares, and would be replaced by those that are",
            hint="Name another --output, or go on without --shard.",
        )


def merge_parts(output: Path, count: int, like: PartReceipt | None = None) -> PartsState:
    """Make the output of its parts, if all of them are whole and go together with `like`, or else with the newest."""
    folder = parts_folder(output)
    with lock_output(folder / MERGED_FILE, "aurora caption", wait=True):  # several may have made the last part at once
        receipts = whole_parts(output, count)
        state = _state(output, receipts, count, like)
        if not state.is_whole:
            return state
        merged = MergedParts.read_if_there(folder / MERGED_FILE)
        parts = tuple(_version(_part(output, receipt), receipt) for receipt in receipts.values())
        made_from = receipts[0].made_from
        if merged is not None and (merged.parts, merged.made_from) == (parts, made_from) and _has(output, merged.size):
            return state._replace(captions=merged.captions)
        with lock_output(output, "aurora caption"):
            captions = _write(output, [_part(output, receipt) for receipt in receipts.values()])
            write_settings(output, receipts[0].settings)
        MergedParts(parts=parts, made_from=made_from, captions=captions, size=output.stat().st_size).write(
            folder / MERGED_FILE
        )
        return state._replace(captions=captions, merged=True)


def _state(output: Path, receipts: dict[int, PartReceipt], count: int, like: PartReceipt | None) -> PartsState:
    if like is None and receipts:
        like = max(receipts.values(), key=lambda receipt: _part(output, receipt).receipt.stat().st_mtime_ns)
    return PartsState(
        count,
        tuple(index for index in range(count) if index not in receipts),
        tuple(i for i, receipt in receipts.items() if like is not None and receipt.made_from != like.made_from),
        rejected=sum(receipt.rejected for receipt in receipts.values()),
    )


def _part(output: Path, receipt: PartReceipt) -> Part:
    return Part(output, receipt.share, receipt.media, receipt.total)


def _version(part: Part, receipt: PartReceipt) -> tuple[int, int, int]:
    stat = part.path.stat()
    return stat.st_size, stat.st_mtime_ns, receipt.rejected


def _has(output: Path, size: int) -> bool:
    return output.is_file() and output.stat().st_size == size


def _write(output: Path, parts: Sequence[Part]) -> int:
    """Write the output, and list what is missing from it; how many captions it has."""
    files = [file for part in parts for file in (part.path, part.rejects)]
    rejects: list[JsonObject] = []
    count = 0

    def captions() -> Iterator[JsonObject]:
        nonlocal count
        seen = CaptionKeys()
        for line in _each_once(heapq.merge(*map(read_lines, files), key=operator.itemgetter(LINE)), seen):
            if "caption" in line:
                count += 1
                yield {name: value for name, value in line.items() if name != LINE}
            else:
                rejects.append(_reject(line))

    rewrite(output, captions())
    list_rejects(output, rejects)
    return count


def _each_once(lines: Iterator[JsonObject], seen: CaptionKeys) -> Iterator[JsonObject]:
    """The lines without those of rows that are the same as an earlier one, of another share."""
    while batch := list(islice(lines, BATCH)):
        keys = {index: key for index, line in enumerate(batch) if (key := _key(line)) is not None}
        before = dict(zip(keys, seen.add(hashes_of(keys.values())).tolist(), strict=True))
        yield from (line for index, line in enumerate(batch) if not before.get(index, False))


def _key(line: JsonObject) -> CaptionKey | None:
    """What the caption of an equal row is known by; none: it is no row."""
    if "caption" in line:
        media, name, span, prompt = line["media"], line.get("id"), line.get("span"), line.get("prompt")
    elif KEY in line:
        media, name, span, prompt = line[KEY]
    else:
        return None
    return media, name, None if span is None else (span[0], span[1]), prompt


def _reject(line: JsonObject) -> JsonObject:
    """As it is listed beside the output: the line is that of the list's file, if it is one."""
    hidden = {KEY} if "file" in line else {KEY, LINE}
    return {name: value for name, value in line.items() if name not in hidden}


def shares_to_type(output: Path | str, shares: Sequence[int], count: int) -> str:
    """What starts the missing shares again."""
    typed = ", ".join(f"--shard {Share(index, count)}" for index in shares[:5]) + (", ..." if len(shares) > 5 else "")
    numbers = ",".join(map(str, shares))
    return (
        f"Start them again with --output {output}: {typed}; as a job array:"
        f" --array={numbers} with --shard $SLURM_ARRAY_TASK_ID/{count}"
    )
