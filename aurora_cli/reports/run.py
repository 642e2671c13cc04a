"""`runs/<stage>/report.html`: a run as a page for a browser, made from the run's files alone at any time."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

from aurora_cli.config.workspace import VALIDATION
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.token_store.manifest import merged_inputs
from aurora_cli.io import yaml_files
from aurora_cli.io.atomic import write_text
from aurora_cli.io.json_files import JsonObject
from aurora_cli.reports.charts import line_chart
from aurora_cli.reports.metrics import RunMetrics
from aurora_cli.reports.page import Chart, Fact, Page, render
from aurora_cli.reports.rejects import Rejects, count_rejects
from aurora_cli.reports.samples import CaptionedSample, captioned_samples
from aurora_cli.runs.checkpoints import newest
from aurora_cli.runs.layout import (
    CHECKPOINTS,
    CONFIG_FILE,
    METADATA_FILE,
    METRICS_FILE,
    RESUME_FOLDER,
    SAMPLES,
    STATE_FILE,
)
from aurora_cli.runs.lines import CAPTION_SCORES
from aurora_cli.runs.metadata import CheckpointMetadata, TrainedFolder, TrainState

SECTIONS = ("model", "train", "data", "checkpoint")
"""Of the settings: what a run depends on."""


class DataFolder(NamedTuple):
    """A merged folder that the run reads: for its steps, or for validation."""

    name: str
    samples: int
    weight: str
    sources: list[str]
    """The annotation files that it was made from."""


@dataclass(frozen=True)
class RunPage(Page):
    """What `templates/run.html.j2` shows."""

    facts: list[Fact]
    """None: no step has been done."""
    curves: list[Chart]
    samples: list[CaptionedSample]
    order_hash: str
    data: list[DataFolder]
    rejects: Rejects
    start: list[tuple[str, str]]
    """What the run began with, by name. None: there is no checkpoint yet."""
    settings: str
    """YAML."""
    step: int = 0
    """So many are done."""
    steps: int = 0

    @property
    def progress(self) -> str:
        return f"{self.step:,} of {self.steps:,}"

    @property
    def anchor(self) -> str:
        """Where a page of several runs has this one."""
        return "run-" + "".join(char if char.isalnum() else "-" for char in self.title)


def write_report(run_dir: Path, root: Path, target: Path, metrics: RunMetrics | None = None) -> None:
    """Write the page of a run; names of its data start at `root`, the workspace.

    `metrics` are those of the last call for the same run: then only lines that are new since are read.
    """
    write_text(target, run_page(run_dir, root, metrics))


def run_page(run_dir: Path, root: Path, metrics: RunMetrics | None = None) -> str:
    """The page as `write_report` writes it."""
    content = run_content(run_dir, root, metrics or RunMetrics(run_dir / METRICS_FILE), title=str(run_dir))
    return render("run.html.j2", content)


def run_content(run_dir: Path, root: Path, metrics: RunMetrics, *, title: str) -> RunPage:
    """What is told of a run, from its files as they are now."""
    metrics.update()
    config = read_config(run_dir / CONFIG_FILE)
    checkpoint = newest(run_dir / CHECKPOINTS)
    metadata = None if checkpoint is None else CheckpointMetadata.read(checkpoint / METADATA_FILE)
    state = TrainState() if checkpoint is None else TrainState.read(checkpoint / RESUME_FOLDER / STATE_FILE)
    stage = config.get("train", {}).get("stage", "unknown") if metadata is None else metadata.stage
    step = 0 if metrics.last is None else metrics.last.step
    steps = 0 if metadata is None else metadata.steps
    return RunPage(
        title=title,
        lead=f"Training stage {stage}: step {step:,} of {steps:,}",
        step=step,
        steps=steps,
        foot="aurora train.",
        facts=_facts(metrics, state),
        curves=_curves(metrics),
        samples=captioned_samples(run_dir / SAMPLES),
        order_hash=state.order_hash or "none",
        data=[
            *(_data_folder(folder, root, f"{folder.weight:g}") for folder in state.data),
            *(_data_folder(folder, root, VALIDATION) for folder in (metadata.validation_folders if metadata else ())),
        ],
        rejects=count_rejects(run_dir / REJECTS_FILE),
        start=_start(metadata),
        settings=yaml.safe_dump({key: config[key] for key in SECTIONS if key in config}),
    )


def _facts(metrics: RunMetrics, state: TrainState) -> list[Fact]:
    if metrics.first is None or metrics.last is None:
        return []
    facts = [Fact("loss", f"{metrics.last.loss:.4f}", f"{metrics.first.loss:.4f} at first")]
    if metrics.validation_last is not None:
        lowest = f"lowest {metrics.validation_lowest:.4f}"
        if metrics.validation_at_start is not None:
            lowest += f", {metrics.validation_at_start:.4f} at first"
        facts.append(Fact("validation loss", f"{metrics.validation_last:.4f}", lowest))
    if metrics.evaluated_last is not None:
        highest = f"highest {metrics.cider_highest:.4f} at step {metrics.cider_highest_step:,}"
        facts.append(Fact(CAPTION_SCORES["cider"], f"{metrics.evaluated_last.cider:.4f}", highest))
    tokens_per_s = metrics.tokens / max(metrics.seconds, 1e-9)
    visual_share = metrics.visual_tokens / max(1, metrics.tokens)
    return [
        *facts,
        Fact("epochs", f"{metrics.last.epoch:.2f}", f"{metrics.samples:,} samples"),
        Fact("tokens", f"{metrics.tokens:,}", f"{visual_share:.0%} visual"),
        Fact("tokens a second", f"{tokens_per_s:,.0f}", f"{metrics.seconds / 3600:,.2f} h in steps"),
        Fact("fill", f"{metrics.fill_sum / metrics.lines:.1%}", "of positions are not padding"),
        Fact("memory", f"{metrics.max_mem_mb / 1024:,.1f} GB", "most, on rank 0"),
        Fact("rejected", f"{state.samples_rejected:,}", "samples not learned from"),
    ]


def _curves(metrics: RunMetrics) -> list[Chart]:
    losses = {"training": metrics.curves["loss"].points()}
    if validation := metrics.curves["validation_loss"].points():
        losses["validation"] = validation
    loss = line_chart(losses, name="Loss by step", axis="step", logarithmic=None)
    return [
        Chart("Loss", loss, "mean over target tokens, in nats"),
        *_curves_by_ratio(metrics),
        _chart(metrics, "lr", "Learning rate", "the highest of the parts'"),
        _chart(metrics, "grad_norm", "Gradient norm", "before clipping", logarithmic=None),
        _chart(metrics, "tokens_per_s", "Tokens a second", "text and visual, all processes"),
        _chart(metrics, "fill", "Fill", "share of positions that are not padding"),
        _chart(metrics, "step_s", "Seconds a step", "reading included"),
        *_score_curves(metrics),
    ]


def _score_curves(metrics: RunMetrics) -> list[Chart]:
    """Of captions that were evaluated on the way, if any were: CIDEr-D goes up to 10, the others up to 1."""
    if metrics.evaluated_last is None:
        return []
    note = f"of {metrics.evaluated_last.evaluated_captions:,} captions of validation samples"
    name = CAPTION_SCORES["cider"]
    others = {called: metrics.curves[key].points() for key, called in CAPTION_SCORES.items() if called != name}
    drawing = line_chart(others, name="Other scores of captions by step", axis="step")
    return [_chart(metrics, "cider", name, note), Chart("Other scores", drawing, note)]


def _curves_by_ratio(metrics: RunMetrics) -> list[Chart]:
    """Of a mixture of kept ratios, a curve for each."""
    charts = {
        "Loss by kept ratio": (metrics.loss_by_ratio, "of the steps at each"),
        "Validation loss by kept ratio": (metrics.validation_by_ratio, "of all validation samples, at each"),
    }
    return [
        Chart(heading, line_chart(curves, name=f"{heading}, by step", axis="step", logarithmic=None), note)
        for heading, (curves, note) in charts.items()
        if curves
    ]


def _chart(metrics: RunMetrics, key: str, heading: str, note: str, *, logarithmic: bool | None = False) -> Chart:
    points = metrics.curves[key].points()
    drawing = line_chart({heading: points}, name=f"{heading} by step", axis="step", logarithmic=logarithmic)
    return Chart(heading, drawing, note)


def _data_folder(folder: TrainedFolder, root: Path, weight: str) -> DataFolder:
    """A merged folder, its weight or what it is for, and the annotation files that it was made from, as far as it still
    says so."""
    sources = [f"{source.path} (sha256 {source.sha256[:12]}…)" for source in merged_inputs(root / folder.folder)]
    return DataFolder(folder.folder, folder.samples, weight, sources)


def _start(metadata: CheckpointMetadata | None) -> list[tuple[str, str]]:
    if metadata is None:
        return []
    written = metadata.to_json()
    return [
        ("starts from", metadata.base if isinstance(metadata.base, str) else json.dumps(metadata.base)),
        ("trains", ", ".join(metadata.trained)),
        *([("by adapters", json.dumps(written["lora"]))] if metadata.lora else []),
        ("token merging", json.dumps(written["merging"])),
        *(
            [("kept ratios", ", ".join(f"{ratio:g}" for ratio in metadata.trained_ratios))]
            * bool(metadata.trained_ratios)
        ),
    ]


def read_config(path: Path) -> JsonObject:
    """The settings of a run; empty if there are none yet."""
    content = yaml_files.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return content if isinstance(content, dict) else {}
