"""A run's page, made from its files: what is in it, and that a browser takes it as it is."""

import math
from pathlib import Path

import pytest
from PIL import Image

from aurora_cli.config.settings import Settings
from aurora_cli.errors import UsageError
from aurora_cli.pipeline.inspect import command as inspect
from aurora_cli.reports.metrics import POINTS
from aurora_cli.reports.rejects import ShownReject, count_rejects
from aurora_cli.reports.run import run_page, write_report
from aurora_cli.runs.lines import CaptionLine, MetricsLine, RejectedLine, append_lines, write_lines
from aurora_cli.runs.metadata import TrainState
from tests.browser import dom, needs_browser, screenshot
from tests.run_files import metadata, metrics_line
from tests.tokenizing import merged_manifest

STEPS = 1000
HOSTILE = '<script>alert(1)</script> & "quotes"'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with one run of a thousand steps."""
    run = tmp_path / "runs/vision"
    step = run / f"checkpoints/step-{STEPS:08d}"
    (step / "resume").mkdir(parents=True)
    (run / "samples").mkdir()
    merged = tmp_path / "tokenized/vision/cats/merged"
    merged.mkdir(parents=True)
    merged_manifest(4000, "data/vision/cats/cats.jsonl", sha256="ab" * 32).write(merged / "manifest.json")
    append_lines(run / "metrics.jsonl", map(line, range(1, STEPS + 1)))
    metadata("vision", STEPS).model_copy(update={"base": "runs/projection"}).write(step / "checkpoint.json")
    recipe = {"data folders": [["tokenized/vision/cats/merged", 2.0, 4000]]}
    TrainState(recipe=recipe, samples_rejected=3, order_hash="f00").write(step / "resume/state.json")
    (run / "config.yaml").write_text("train: {stage: vision, seed: 7}\n")
    for number in (500, STEPS):
        caption = CaptionLine(
            sample=8, id=HOSTILE, frames=(1,), prompt="?", caption=f"a cat at {number}", reference="a cat"
        )
        write_lines(run / f"samples/step-{number:08d}.jsonl", [caption])
    Image.new("RGB", (60, 30), "orange").save(run / "samples/8.jpg")
    reject = RejectedLine(step=4, sample=5, id="cat-5", media="5.png", reason="5.png: not a readable image")
    append_lines(run / "rejected.jsonl", [reject] * 3)
    return tmp_path


def line(step: int) -> MetricsLine:
    loss = 1.0 + 3.0 * math.exp(-step / 200) + 0.1 * math.sin(step)
    validation = loss + 0.1 if step % 100 == 0 else None
    return metrics_line(step, loss=loss, grad_norm=2.0 / step, validation_loss=validation)


@pytest.mark.slow
def test_the_page_shows_curves_data_rejects_samples_and_settings(root: Path) -> None:
    page = run_page(root / "runs/vision", root)
    for text in (
        "step 1,000 of 1,000", "validation", "Gradient norm", "data/vision/cats/cats.jsonl (sha256 abababababab",
        "a cat at 1000", "a cat at 500", "not a readable image", "data:image/jpeg;base64,", "runs/projection",
        "seed: 7",
    ):  # fmt: skip
        assert text in page, text
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_curve_has_at_most_so_many_points_however_long_the_run(root: Path) -> None:
    page = run_page(root / "runs/vision", root)
    paths = page.split('class="curve"')[1:]
    assert max(path.split(">")[0].count("L") for path in paths) < POINTS


def test_of_a_run_that_has_just_begun_there_is_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "runs/vision").mkdir(parents=True)
    assert "No step has been done yet" in run_page(tmp_path / "runs/vision", tmp_path)


def test_inspect_writes_the_page_of_a_run_where_it_is_to_be(root: Path) -> None:
    settings = Settings.model_validate({"workspace": root, "inspect": {"path": "runs/vision", "html": "page.html"}})
    assert "would write" in "\n".join(inspect.run(settings, dry_run=True).lines())
    assert not (root / "page.html").exists()
    assert f"wrote {root / 'page.html'}" in "\n".join(inspect.run(settings).lines())
    assert (root / "page.html").is_file()
    folder = Settings.model_validate({"workspace": root, "inspect": {"path": "runs/vision", "html": "runs"}})
    with pytest.raises(UsageError, match="is a folder"):
        inspect.run(folder)


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_the_page_and_complains_of_nothing(root: Path, tmp_path: Path) -> None:
    target = root / "runs/vision/report.html"
    write_report(root / "runs/vision", root, target)
    seen = dom(target, tmp_path / "profile")
    assert seen.count("<svg") == 6
    assert "&lt;script&gt;alert(1)" in seen
    assert screenshot(target, "run.png", tmp_path / "profile").stat().st_size > 20_000


def test_rejects_are_counted_by_their_reasons_of_which_not_too_many_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "rejected.jsonl"
    reasons = [(step, f"{step}.jpg: reason {step % 5}") for step in range(1, 31)]
    append_lines(
        path, [RejectedLine(step=step, sample=0, id=f"r{step}", media=None, reason=reason) for step, reason in reasons]
    )
    found = count_rejects(path, most=3)
    assert (found.total, len(found.first)) == (30, 12)
    assert found.reasons == [("other reasons", 12), ("reason 1", 6), ("reason 2", 6), ("reason 3", 6)]
    assert found.first[0] == ShownReject(1, "r1", "", "1.jpg: reason 1")


def test_the_page_of_a_mixture_has_a_curve_for_each_kept_ratio(root: Path) -> None:
    metrics = root / "runs/vision/metrics.jsonl"
    metrics.unlink()
    ratios = (0.1, 0.25, 0.5)
    by_ratio = {f"{ratio:g}": 1.0 + ratio for ratio in ratios}
    lines = [metrics_line(n, kept_ratio=ratios[n % 3], validation_loss_by_ratio=by_ratio) for n in range(1, 31)]
    append_lines(metrics, lines)
    path = root / "runs/vision/checkpoints/step-00001000/checkpoint.json"
    metadata("vision", STEPS).model_copy(update={"trained_ratios": ratios}).write(path)
    page = run_page(root / "runs/vision", root)
    assert "Validation loss by kept ratio" in page
    assert page.count("<title>0.25</title>") == 2
    assert "0.1, 0.25, 0.5" in page
