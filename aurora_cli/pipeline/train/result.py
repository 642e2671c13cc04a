"""What `aurora train` says: of a run, of one that was done before, or of one that would be."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

import yaml

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.errors import EXIT_OK
from aurora_cli.io.json_files import JsonObject
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.train.plan import StagePlan
from aurora_cli.runs.layout import METRICS_FILE, REPORT_FILE
from aurora_cli.runs.metadata import FinishedRun
from aurora_cli.training.engine.deepspeed_config import engine_name


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
    validation: list[str] = field(default_factory=list)
    """Folders that are measured on and not trained on."""
    validation_samples: int = 0
    """Of these."""
    best: str | None = None
    """The best checkpoint, by `checkpoint.keep_best`."""
    best_by: str | None = None
    """What it is known by, and what that came to."""
    best_validation_loss: float | None = None
    notes: list[str] = field(default_factory=list)
    """What is there and not used, with what to type."""
    rejected: int = 0
    """Samples left out of the loss, because their media could not be read."""
    features_read: int | None = None
    """Media whose features were read instead of their pixels; none, as the next three: no features were kept."""
    features_encoded: int | None = None
    """Media that went through the tower."""
    features_read_bytes: int | None = None
    features_kept_bytes: int | None = None
    """Written for the next time."""
    checkpoint: str | None = None
    seconds: float = 0.0
    launch: tuple[str, ...] = ()
    settings: JsonObject | None = None
    problem: str | None = None
    """What would stop the run (dry run only)."""
    problem_code: int = EXIT_OK
    """Its exit code, if something is missing (dry run only)."""

    @property
    def exit_code(self) -> int:
        return self.problem_code

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
            *self._feature_lines(),
            f"weights: {self.checkpoint}",
            *self._best_lines(),
            f"metrics: {Path(self.run_dir, METRICS_FILE)}; to look at: {Path(self.run_dir, REPORT_FILE)}",
        ]

    def _feature_lines(self) -> list[str]:
        if self.features_read is None or self.features_read_bytes is None or self.features_kept_bytes is None:
            return []
        return [
            f"features: {self.features_read:,} media read ({self.features_read_bytes / 1e9:,.3f} GB),"
            f" {self.features_encoded:,} through the tower, {self.features_kept_bytes / 1e9:,.3f} GB kept"
        ]

    def _best_lines(self) -> list[str]:
        if self.best is None or self.best_by is None:
            return []
        what = "the last" if self.best == self.checkpoint else f"{self.best}, which is kept too"
        return [f"{self.best_by}: {what}"]

    def _dry_lines(self) -> list[str]:
        settings = yaml.safe_dump(self.settings, sort_keys=False, allow_unicode=True).splitlines()
        facts = [
            f"stage {self.stage} would write {self.run_dir}",
            f"start: {self.start}"
            + ("" if self.resumed_from is None else f", resumed from step {self.resumed_from:,}"),
            f"data: {', '.join(self.data) or 'none'} ({self.samples:,} samples)",
            *(
                [f"validation: {', '.join(self.validation)} ({self.validation_samples:,} samples)"]
                * bool(self.validation)
            ),
            *self.notes,
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


class Facts(TypedDict):
    """What is the same in every result of a plan."""

    stage: str
    run_dir: str
    start: str
    data: list[str]
    samples: int
    validation: list[str]
    validation_samples: int
    processes: int
    engine: str


def facts_of(plan: StagePlan, processes: int) -> Facts:
    return {
        "stage": plan.stage,
        "run_dir": str(plan.run_dir),
        "start": plan.start.name,
        "data": [f"{one.folder}" + (f":{one.weight:g}" if one.weight != 1 else "") for one in plan.data],
        "samples": sum(one.rows for one in plan.data),
        "validation": [str(one.folder) for one in plan.validation],
        "validation_samples": sum(one.rows for one in plan.validation),
        "processes": processes,
        "engine": engine_name(plan.settings.train, processes),
    }


def nothing_to_do(plan: StagePlan, finished: FinishedRun, processes: int) -> TrainResult:
    """The result of a stage that has been trained."""
    return TrainResult(
        **facts_of(plan, processes),
        did="nothing",
        step=finished.step,
        steps=finished.steps,
        checkpoint=str(plan.checkpoints / finished.checkpoint),
    )
