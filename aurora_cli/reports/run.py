"""`runs/<stage>/report.html`: a run as a page for a browser, made from the run's files alone at any time."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.token_store.schema import MANIFEST
from aurora_cli.io.atomic import read_json, write_text
from aurora_cli.reports import page as html
from aurora_cli.reports.charts import Point, line_chart
from aurora_cli.reports.page import Fact, Html
from aurora_cli.runs.checkpoints import newest
from aurora_cli.runs.layout import (
    CHECKPOINTS,
    CONFIG_FILE,
    DESCRIPTION_FILE,
    METRICS_FILE,
    RESUME_FOLDER,
    SAMPLES,
    STATE_FILE,
)
from aurora_cli.runs.lines import read_lines

POINTS = 400
"""Of a curve at most; more steps are averaged."""

NEWEST = 3
"""Captions of an image that are seen at once."""

REJECTS_SHOWN = 12
REASON_CHARACTERS = 160
FOOT = "aurora train. This file is complete in itself and fetches nothing."


def write_report(run_dir: Path, root: Path, target: Path) -> None:
    """Write the page of a run; names of its data start at `root`, the workspace."""
    write_text(target, run_page(run_dir, root))


def run_page(run_dir: Path, root: Path) -> str:
    lines = list(read_lines(run_dir / METRICS_FILE))
    config = _yaml(run_dir / CONFIG_FILE)
    checkpoint = newest(run_dir / CHECKPOINTS)
    said = {} if checkpoint is None else read_json(checkpoint / DESCRIPTION_FILE)
    stage = said.get("stage") or config.get("train", {}).get("stage", "unknown")
    state = {} if checkpoint is None else read_json(checkpoint / RESUME_FOLDER / STATE_FILE)
    lead = f"Training stage {stage}: step {lines[-1]['step'] if lines else 0:,} of {said.get('steps', 0):,}"
    parts = [
        _overview(lines, state),
        _curves(lines),
        _captions(run_dir / SAMPLES),
        _data(state, root),
        _rejects(run_dir / REJECTS_FILE),
        _settings(said, config),
    ]
    return html.page(str(run_dir), lead, parts, foot=FOOT)


def _overview(lines: list[dict[str, Any]], state: dict[str, Any]) -> Html:
    if not lines:
        return html.element("p", "No step has been done yet.", kind="note")
    last = lines[-1]
    seconds = sum(line["step_s"] for line in lines)
    tokens = sum(line["tokens"] for line in lines)
    held_out = [line["validation_loss"] for line in lines if "validation_loss" in line]
    entries = [
        Fact("loss", f"{last['loss']:.4f}", f"{lines[0]['loss']:.4f} at first"),
        *([Fact("held-out loss", f"{held_out[-1]:.4f}", f"lowest {min(held_out):.4f}")] if held_out else []),
        Fact("epochs", f"{last['epoch']:.2f}", f"{sum(line['samples'] for line in lines):,} samples"),
        Fact("tokens", f"{tokens:,}", f"{sum(line['visual_tokens'] for line in lines) / max(1, tokens):.0%} visual"),
        Fact("tokens a second", f"{tokens / max(seconds, 1e-9):,.0f}", f"{seconds / 3600:,.2f} h in steps"),
        Fact("fill", f"{_mean(line['fill'] for line in lines):.1%}", "of positions are not padding"),
        Fact("memory", f"{max(line['max_mem_mb'] for line in lines) / 1024:,.1f} GB", "most, on rank 0"),
        Fact("left out", f"{state.get('samples_rejected', 0):,}", "samples not taught"),
    ]
    return html.facts(entries)


def _curves(lines: list[dict[str, Any]]) -> Html:
    losses = {"training": _curve(lines, "loss")}
    if held_out := _curve(lines, "validation_loss"):
        losses["held out"] = held_out
    drawn = [
        html.chart("Loss", line_chart(losses, name="Loss by step", axis="step"), "mean over taught tokens, in nats"),
        _chart(lines, "lr", "Learning rate", "the highest of the parts'"),
        _chart(lines, "grad_norm", "Gradient norm", "before clipping", logarithmic=True),
        _chart(lines, "tokens_per_s", "Tokens a second", "text and visual, all processes"),
        _chart(lines, "fill", "Fill", "share of positions that are not padding"),
        _chart(lines, "step_s", "Seconds a step", "reading included"),
    ]
    return html.section("Curves", html.charts(drawn))


def _chart(lines: list[dict[str, Any]], key: str, heading: str, note: str, *, logarithmic: bool = False) -> Html:
    drawing = line_chart({heading: _curve(lines, key)}, name=f"{heading} by step", axis="step", logarithmic=logarithmic)
    return html.chart(heading, drawing, note)


def _curve(lines: list[dict[str, Any]], key: str) -> list[Point]:
    """(step, value), at most `POINTS`: the mean of neighbouring steps."""
    points = [(float(line["step"]), float(line[key])) for line in lines if line.get(key) is not None]
    size = math.ceil(len(points) / POINTS) or 1
    groups = (points[start : start + size] for start in range(0, len(points), size))
    return [(group[-1][0], _mean(value for _, value in group)) for group in groups]


def _captions(folder: Path) -> Html:
    """What the model said of each fixed image, the latest first."""
    files = sorted(folder.glob("step-*.jsonl"), reverse=True)
    if not files:
        return html.section("Samples", html.element("p", "There are none.", kind="note"))
    by_step = {int(file.stem.removeprefix("step-")): list(read_lines(file)) for file in files}
    articles: list[Html] = []
    for asked in next(iter(by_step.values())):
        jpeg = folder / f"{asked['sample']}.jpg"
        figure = html.image(jpeg.read_bytes() if jpeg.is_file() else None, str(asked["id"]), instead="no image")
        rows = [
            (f"{step:,}", line["caption"])
            for step, lines in by_step.items()
            for line in lines
            if line["sample"] == asked["sample"]
        ]
        answers = html.table(("Step ", "Caption"), [*rows[:NEWEST], ("reference", asked["reference"])])
        older = (
            [html.folded(f"{len(rows) - 3} earlier", html.table(("Step ", "Caption"), rows[3:]))] if rows[3:] else []
        )
        articles.append(
            html.element("article", html.element("div", figure, kind="images"), answers, *older, kind="card")
        )
    return html.section("Samples", *articles, note="Greedy captions of the same images as training went on.")


def _data(state: dict[str, Any], root: Path) -> Html:
    """The merged folders, their weights, and the annotation files that they were made from."""
    rows: list[tuple[Html | str | int, ...]] = []
    for name, weight, count in state.get("recipe", {}).get("data folders", []):
        manifest = root / name / MANIFEST
        inputs = read_json(manifest).get("inputs", []) if manifest.is_file() else []
        sources = html.joined(
            (html.element("div", f"{one.get('path')} (sha256 {str(one.get('sha256'))[:12]}…)") for one in inputs), ""
        )
        rows.append((name, count, f"{weight:g}", sources))
    table = html.table(("Folder", "Samples ", "Weight ", "Made from"), rows)
    return html.section("Data", table, note=f"Order hash at the last checkpoint: {state.get('order_hash', 'none')}")


def _rejects(path: Path) -> Html:
    rejects = list(read_lines(path))
    if not rejects:
        return html.section("Samples left out", html.element("p", "None.", kind="note"))
    reasons = Counter(_kind_of(str(line.get("reason"))) for line in rejects)
    counts = html.table(("Reason", "Times "), reasons.most_common(REJECTS_SHOWN))
    shown = [
        (line["step"], str(line.get("id")), str(line.get("media") or ""), str(line.get("reason"))[:REASON_CHARACTERS])
        for line in rejects[:REJECTS_SHOWN]
    ]
    first = html.table(("Step ", "Sample", "Media", "Reason"), shown)
    note = f"{len(rejects):,} in all; every one is listed in {REJECTS_FILE}."
    return html.section("Samples left out", counts, html.folded(f"the first {len(shown)}", first), note=note)


def _kind_of(reason: str) -> str:
    """A reason without the name that it begins with."""
    return reason.rpartition(": ")[2][:REASON_CHARACTERS]


def _settings(said: dict[str, Any], config: dict[str, Any]) -> Html:
    base = said.get("base")
    rows = [
        ("starts from", base if isinstance(base, str) else json.dumps(base)),
        ("trains", ", ".join(said.get("trained", ()))),
        *([("by adapters", json.dumps(said["lora"]))] if said.get("lora") else []),
        ("token merging", json.dumps(said.get("merging"))),
    ]
    text = yaml.safe_dump({key: config[key] for key in ("model", "train", "data", "checkpoint") if key in config})
    whole = html.folded("all of them", html.element("pre", html.element("code", text)))
    return html.section("Settings", html.table(("", ""), rows), whole)


def _yaml(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return content if isinstance(content, dict) else {}


def _mean(values: Iterable[float] | Iterator[float]) -> float:
    numbers = list(values)
    return sum(numbers) / max(1, len(numbers))
