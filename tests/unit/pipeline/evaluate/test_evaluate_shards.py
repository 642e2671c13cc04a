"""`aurora evaluate --shard`: whoever captions which share, the evaluation is that of one process."""

import json
from pathlib import Path

import pytest
from PIL import Image

from aurora_cli.config.settings import CaptionSettings, EvaluateSettings, Settings
from aurora_cli.errors import DataError, UsageError
from aurora_cli.evaluation.stored import Evaluation
from aurora_cli.pipeline.evaluate.command import run
from aurora_cli.pipeline.evaluate.result import EvaluateResult
from aurora_cli.pipeline.evaluate.shares import ShareResult
from tests.captioners import MODEL, make_runs
from tests.run_files import json_lines

MEDIA = 5
RATIOS = (1.0, 0.5)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A workspace with a run, and references of images, of which one is none."""
    root = tmp_path_factory.mktemp("shares")
    make_runs(root)
    (root / "val").mkdir()
    lines = []
    for number in range(MEDIA):
        Image.new("RGB", (40, 40), (50 * number, 200, 9 * number)).save(root / "val" / f"{number}.png")
        lines.append(json.dumps({"id": f"{number}.png", "references": [f"It is {number}."]}) + "\n")
    (root / "val" / "3.png").write_text("no image")
    (root / "val" / "references.jsonl").write_text("".join(lines))
    return root


def evaluated(workspace: Path, shard: str | None = None, output: str = "out", *, dry_run: bool = False):
    evaluate = {"references": "val/references.jsonl", "tokenizer": "python", "resamples": 100, "output": output}
    settings = Settings(
        workspace=workspace,
        model=MODEL,
        caption=CaptionSettings(max_new_tokens=4, device="cpu"),
        evaluate=EvaluateSettings.model_validate({**evaluate, "token_kept_ratios": RATIOS, "shard": shard}),
    )
    return run(settings, dry_run=dry_run)


def seen(workspace: Path, output: str) -> tuple[object, ...]:
    """All of an evaluation that does not hang on the machine, and its captions."""
    evaluation = Evaluation.read(workspace / output / "evaluation.json")
    curve = [(point.token_kept_ratio, point.matched, point.metrics) for point in evaluation.curve or ()]
    files = sorted((workspace / output).glob("captions*.jsonl"))
    lines = [[(line["media"], line["id"], line["caption"]) for line in json_lines(file)] for file in files]
    rejected = [(each["media"], each["reason"]) for each in json_lines(workspace / output / "rejected.jsonl")]
    return evaluation.metrics, curve, evaluation.uncaptioned, evaluation.references_without_caption, lines, rejected


@pytest.mark.slow
def test_the_last_of_the_shares_evaluates_as_one_process_does(workspace: Path) -> None:
    one = evaluated(workspace, output="one")
    first = evaluated(workspace, "1/3")
    assert isinstance(first, ShareResult)
    assert (first.media, first.made, first.is_whole, first.exit_code) == (2, 4, False, 0)  # 2 media at 2 points
    assert any("2 of 3 parts are not there yet: shares 0, 2" in line for line in first.lines())
    with pytest.raises(DataError, match="2 of 3 parts are not there yet: shares 0, 2") as missing:
        evaluated(workspace)
    assert "--shard 0/3, --shard 2/3" in (missing.value.hint or "")
    bad = evaluated(workspace, "0/3")
    assert (bad.media, bad.made, bad.uncaptioned, bad.exit_code) == (2, 2, 2, 3)  # 3.png, at 2 points
    last = evaluated(workspace, "2/3")
    assert isinstance(last, EvaluateResult)
    assert isinstance(one, EvaluateResult)
    assert seen(workspace, "out") == seen(workspace, "one")
    assert isinstance(evaluated(workspace, "0/3"), EvaluateResult)  # nothing left to caption: it is scored again
    assert isinstance(evaluated(workspace), EvaluateResult)


@pytest.mark.slow
def test_parts_are_of_one_number_of_shares_and_captions_that_are_there_have_none(workspace: Path) -> None:
    dry = evaluated(workspace, "0/3", dry_run=True)
    assert "Would caption 2 media" in dry.lines()[0]
    assert not (workspace / "out").exists()
    evaluated(workspace, "0/3")
    with pytest.raises(UsageError, match="has parts of 3 shares"):
        evaluated(workspace, "0/2")
    evaluated(workspace, output="one")
    with pytest.raises(UsageError, match="not made in shares"):
        evaluated(workspace, "0/2", "one")
