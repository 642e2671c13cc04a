"""What `aurora train` tells: of a run, of one that was done before, or of one that would be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.pipeline.result import Result
from aurora_cli.runs.layout import METRICS_FILE, REPORT_FILE


@dataclass(frozen=True)
class TrainResult(Result):
    """What a stage came to."""

    stage: str
    run_dir: str
    did: Literal["trained", "nothing", "dry run"]
    start: str
    data: list[str]
    samples: int
    processes: int
    engine: str
    step: int = 0
    steps: int | None = None
    resumed_from: int | None = None
    """Step of the checkpoint that it went on from."""
    loss: float | None = None
    rejected: int = 0
    """Samples left out of the loss, because their media could not be read."""
    checkpoint: str | None = None
    seconds: float = 0.0
    launch: tuple[str, ...] = ()
    settings: dict[str, Any] | None = None
    problem: str | None = None
    """What would stop the run (dry run only)."""

    def lines(self) -> list[str]:
        if self.did == "dry run":
            return self._dry_lines()
        if self.did == "nothing":
            return [f"{self.stage}: all {self.step:,} steps are done; nothing to do ({self.checkpoint})"]
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        since = "" if self.resumed_from is None else f" (resumed from step {self.resumed_from:,})"
        return [
            f"{self.stage}: {self.step:,} steps{since} in {self.seconds:,.1f} s{loss}",
            *(
                [f"{self.rejected:,} samples left out, listed in {Path(self.run_dir, REJECTS_FILE)}"]
                if self.rejected
                else []
            ),
            f"weights: {self.checkpoint}",
            f"metrics: {Path(self.run_dir, METRICS_FILE)}; to look at: {Path(self.run_dir, REPORT_FILE)}",
        ]

    def _dry_lines(self) -> list[str]:
        import yaml

        settings = yaml.safe_dump(self.settings, sort_keys=False, allow_unicode=True).splitlines()
        facts = [
            f"stage {self.stage} would write {self.run_dir}",
            f"start: {self.start}"
            + ("" if self.resumed_from is None else f", resumed from step {self.resumed_from:,}"),
            f"data: {', '.join(self.data) or 'none'} ({self.samples:,} samples)",
            f"engine: {self.engine}, {self.processes} process{'es' if self.processes > 1 else ''}",
        ]
        return [
            *facts,
            "",
            "settings:",
            *(f"  {line}" for line in settings),
            "",
            "launch:",
            *(f"  {line}" for line in self.launch),
            *(["", f"But: {self.problem}"] if self.problem else []),
        ]
