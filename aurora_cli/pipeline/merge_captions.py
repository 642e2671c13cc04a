"""`aurora merge-captions`: the parts that `aurora caption --shard` made, as the one file that they are of."""

from dataclasses import dataclass

from aurora_cli.captioning.job.merge_parts import merge_parts
from aurora_cli.captioning.job.output import check_output
from aurora_cli.captioning.job.parts import counts_in, parts_folder, whole_parts
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.urls import is_url
from aurora_cli.pipeline.caption_parts import PartsResult, parts_result
from aurora_cli.pipeline.result import Result
from aurora_cli.storage.errors import shown


@dataclass(frozen=True)
class MergeCaptionsResult(Result):
    """What `aurora merge-captions` did."""

    parts: PartsResult
    dry_run: bool = False

    def lines(self) -> list[str]:
        if self.dry_run:
            return [f"Would merge {self.parts.count:,} parts into {self.parts.output}"]
        return self.parts.lines()


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> MergeCaptionsResult:
    """Merge the parts of an output.

    Raises:
        UsageError: no output is named, or it holds something else; or there are parts of several numbers of shares.
        DataError: there are no parts, or some are missing; the message names their shares.
    """
    if settings.merge_captions.output is None:
        raise UsageError("nothing is named", hint="aurora merge-captions captions.jsonl")
    output = Workspace(settings.workspace).path(settings.merge_captions.output)
    if is_url(settings.merge_captions.output):
        raise UsageError(
            f"{shown(settings.merge_captions.output)}: parts in a bucket are joined by the share that is last",
            hint="Start one of the shares again: it captions nothing, and joins.",
        )
    check_output(output)
    folder = parts_folder(output)
    counts = sorted(counts_in(folder))
    if not counts:
        raise DataError(f"{folder}: has no parts", hint=f"aurora caption MEDIA --output {output} --shard 0/8")
    if len(counts) > 1:
        raise UsageError(
            f"{folder}: has parts of {' and of '.join(map(str, counts))} shares",
            hint="Remove those that are not meant.",
        )
    (count,) = counts
    if dry_run:
        missing = tuple(sorted(set(range(count)) - whole_parts(output, count).keys()))
        parts = PartsResult(str(output), count, missing, (), 0, 0, merged=False)
    else:
        parts = parts_result(output, merge_parts(output, count))
    if not parts.is_whole:
        raise DataError(f"{output}: {parts.why()}", hint=parts.hint())
    return MergeCaptionsResult(parts, dry_run)
