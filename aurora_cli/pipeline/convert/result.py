"""What `aurora convert` did."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from aurora_cli.checkpoints.facts import ExportFacts, LogitComparison
from aurora_cli.config.merging import Schedule, TokenMerging
from aurora_cli.errors import EXIT_DATA, EXIT_OK
from aurora_cli.export.trained_ratio import right_at
from aurora_cli.pipeline.result import Result


class MergingValues(TypedDict):
    """`TokenMerging` as JSON."""

    kept_ratio: float
    schedule: Schedule
    proportional_attention: bool
    slowfast: bool


@dataclass(frozen=True)
class ConvertResult(Result):
    """What was written, and how far it is from its source."""

    source: str
    output: str
    format: str
    done: bool = True
    """False: it was there already, or `--dry-run`."""
    dry_run: bool = False
    parameters: int = 0
    bytes: int = 0
    dtype: str = ""
    merging: MergingValues | None = None
    trained_ratios: tuple[float, ...] = ()
    """Of a model that was trained at several kept ratios, of which `merging` has the largest."""
    stages: tuple[str, ...] = ()
    verified: bool | None = None
    """None: not requested."""
    differences: tuple[LogitComparison, ...] = ()
    notes: tuple[str, ...] = ()
    pushed: str | None = None
    """The commit on the hub."""

    def lines(self) -> list[str]:
        uploaded = [f"  on the hub: {self.pushed}"] if self.pushed else []
        if self.dry_run:
            to_hub = f", and upload it to {self.pushed}" if self.pushed else ""
            return [f"Would write {self.source} as {self.format} to {self.output}{to_hub}"]
        if not self.done:
            nothing = f"{self.output} is what converting {self.source} to {self.format} gives: nothing to do"
            return [nothing, *uploaded]
        lines = [
            f"{self.source} as {self.format}: {self.output}",
            f"  {self.parameters:,} parameters, {self.bytes:,} bytes, {self.dtype}; trained by "
            + (", ".join(self.stages) or "somebody else"),
        ]
        if self.merging is not None:
            ratios = self.trained_ratios or (self.merging["kept_ratio"],)
            kept = f"kept ratio {', '.join(f'{ratio:g}' for ratio in ratios)}, schedule {self.merging['schedule']}"
            lines.append(f"  visual tokens merge with {kept}")
        for each in self.differences:
            values = "visual tokens" if self.format == "onnx" else "logits"
            lines.append(f"  {each.what}: {values} differ by {each.difference:.2g} (bound {each.bound:.2g})")
        if self.verified is False:
            lines.append(
                f"  NOT VERIFIED: {self.output} does not compute what {self.source} does; it stays to be looked into"
            )
        return [*lines, *(f"  note: {note}" for note in self.notes), *self._right_at(), *uploaded]

    def _right_at(self) -> list[str]:
        """Of weights, which others may run unmerged; a graph merges by itself."""
        if self.merging is None or self.format == "onnx":
            return []
        warning = right_at(TokenMerging(**self.merging), self.trained_ratios)
        return [] if warning is None else [f"  {warning}"]

    @property
    def exit_code(self) -> int:
        return EXIT_DATA if self.verified is False else EXIT_OK


def result_of(facts: ExportFacts, output: Path, *, done: bool) -> ConvertResult:
    """The result for an export that says `facts` of itself."""
    request, verification, merging = facts.receipt.request, facts.verification, facts.merging
    reasons = [] if verification is None or verification.reason is None else [verification.reason]
    return ConvertResult(
        source=request.source,
        output=str(output),
        format=request.format,
        done=done,
        parameters=facts.parameters,
        bytes=sum(facts.receipt.files.values()),
        dtype=facts.dtype,
        merging=None if merging is None else MergingValues(**merging.model_dump(mode="json")),
        trained_ratios=facts.trained_ratios,
        stages=tuple(stage.stage for stage in facts.history),
        verified=None if verification is None else verification.ok,
        differences=() if verification is None else verification.differences,
        notes=(*facts.notes, *reasons),
    )
