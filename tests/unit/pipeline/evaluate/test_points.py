"""`aurora evaluate` of a model: captions first, at every kept ratio and number of frames, then the curve."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from aurora_cli.config.settings import CaptionSettings, EvaluateSettings, Settings
from aurora_cli.demo.dataset import encode_video
from aurora_cli.errors import DataError, SettingsError, UsageError
from aurora_cli.evaluation.stored import Evaluation
from aurora_cli.pipeline.caption import command as caption
from aurora_cli.pipeline.evaluate.command import run
from aurora_cli.pipeline.evaluate.points import Point
from aurora_cli.pipeline.evaluate.result import EvaluateResult
from tests.captioners import GOLDEN, MODEL, caption_settings, make_runs

IMAGES = ("im_120x160.png", "grey_90x70.png", "im_50x40.png")
RATIOS = (1.0, 0.5, 0.25)
NEW_TOKENS = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A workspace with a run, three images and a video, and what a person would say of them."""
    root = tmp_path_factory.mktemp("workspace")
    make_runs(root)
    media = root / "val" / "media"
    media.mkdir(parents=True)
    for name in IMAGES:
        shutil.copy(GOLDEN / "pixels" / "images" / name, media / name)
    (media / "clip.mp4").write_bytes(encode_video([Image.new("RGB", (64, 64), (40 * n,) * 3) for n in range(6)]))
    names = [*IMAGES, "clip.mp4"]
    rows = [{"id": f"media/{name}", "references": [f"A {name[0]} of it.", "It moves."]} for name in names]
    (root / "val" / "references.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def settings_of(workspace: Path, **evaluate: object) -> Settings:
    given = {"references": "val/references.jsonl", "tokenizer": "python", "resamples": 100, **evaluate}
    return Settings(
        workspace=workspace,
        model=MODEL,
        caption=CaptionSettings(max_new_tokens=NEW_TOKENS, device="cpu"),
        evaluate=EvaluateSettings.model_validate(given),
    )


def evaluated(workspace: Path, **evaluate: object) -> EvaluateResult:
    return run(settings_of(workspace, **evaluate))


def without_measurements(evaluation: Evaluation) -> dict:
    """All that does not hang on the machine."""

    def cleared(value: object) -> object:
        if isinstance(value, dict):
            measured = ("prefill_s", "decode_s", "peak_memory_mb")
            return {key: cleared(each) for key, each in value.items() if key not in measured}
        return [cleared(each) for each in value] if isinstance(value, list) else value

    found = cleared(evaluation.to_json())
    assert isinstance(found, dict)
    return found


def texts_in(path: Path) -> dict[str, str]:
    return {line["media"]: line["caption"] for line in map(json.loads, path.read_text().splitlines())}


@pytest.mark.slow
def test_a_points_captions_are_those_of_aurora_caption_and_its_scores_those_of_the_file(workspace):
    result = evaluated(workspace, token_kept_ratios=RATIOS, frames=(2, 4))
    assert result.curve is not None
    assert [(point.token_kept_ratio, point.frames) for point in result.curve] == [
        (ratio, frames) for ratio in RATIOS for frames in (2, 4)
    ]
    for point in result.curve:
        alone = caption.run(
            caption_settings(
                workspace,
                "val/media",
                max_new_tokens=NEW_TOKENS,
                token_kept_ratio=point.token_kept_ratio,
                frames=point.frames,
                device="cpu",
            )
        )
        assert texts_in(Path(point.captions)) == {each.media: each.caption for each in alone.captions}
        patches = point.token_kept_ratio * 16
        assert point.cost.tokens_per_frame == patches
        assert point.cost.visual_tokens == (3 * patches + point.frames * patches) / 4
        of_file = run(
            Settings(
                workspace=workspace,
                evaluate=EvaluateSettings.model_validate(
                    {
                        "captions": point.captions,
                        "references": "val/references.jsonl",
                        "tokenizer": "python",
                        "resamples": 100,
                    }
                ),
            )
        )
        assert of_file.metrics == point.metrics
        assert of_file.matched == point.matched == 4


@pytest.mark.slow
def test_the_file_the_table_and_the_drawing_hold_the_curve(workspace):
    result = evaluated(workspace, token_kept_ratios=RATIOS, model="runs/language")
    folder = workspace / "evaluation" / "language"
    written = Evaluation.read(folder / "evaluation.json")
    assert (written.curve, written.enough) == (result.curve, result.enough)
    assert (written.model, written.trained_ratio) == ("runs/language", 0.5)
    assert written.enough is not None
    assert written.curve is not None
    best = written.curve[written.enough.best]
    assert (written.captions, written.metrics, written.cost) == (best.captions, best.metrics, best.cost)
    for point in written.curve:
        assert point.cost.prefill_s is not None
        assert point.cost.prefill_s > 0
        assert point.cost.peak_memory_mb is not None
        assert point.cost.peak_memory_mb > 50
    lines = result.lines()
    shown = [line for line in lines if line.split()[:1] in (["1"], ["0.5"], ["0.25"])]
    assert len(shown) == 3
    assert "16.0" in shown[0]
    assert any(line.startswith("Fewest tokens by cider: ") for line in lines)
    drawing = ElementTree.parse(folder / "curve.svg").getroot()
    titles = [each.text for each in drawing.iter("{http://www.w3.org/2000/svg}title")]
    assert sum("kept ratio 0.25, 8 frames" in (title or "") for title in titles) == 2  # its dot and its interval
    assert json.dumps(asdict(result))


@pytest.mark.slow
def test_stopped_anywhere_it_goes_on_at_the_medium_and_ends_the_same(workspace):
    whole = without_measurements(read(workspace, evaluated(workspace, token_kept_ratios=RATIOS)))
    folder = workspace / "evaluation" / "language"
    first, second = (Point(ratio, None).file(folder) for ratio in RATIOS[:2])
    made, torn = first.read_bytes(), second.read_bytes()
    (folder / "evaluation.json").unlink()
    Point(RATIOS[2], None).file(folder).unlink()
    second.write_bytes(torn[: torn.rindex(b"new_tokens")])
    again = without_measurements(read(workspace, evaluated(workspace, token_kept_ratios=RATIOS)))
    assert again == whole
    assert first.read_bytes() == made
    assert second.read_bytes().startswith(torn[: torn.rindex(b'{"media"')])


def read(workspace: Path, result: EvaluateResult) -> Evaluation:
    return Evaluation.read(workspace / result.output)


@pytest.mark.slow
@pytest.mark.usefixtures("imports_done")
def test_killed_at_any_time_it_goes_on_and_ends_the_same(workspace, tmp_path):
    shutil.copytree(workspace, tmp_path / "undisturbed")
    words = ["--references", "val/references.jsonl", "--tokenizer", "python", "--resamples", "100", "--device", "cpu"]
    words += [word for ratio in RATIOS for word in ("--token-kept-ratio", str(ratio))]
    command = [sys.executable, "-m", "aurora_cli", "evaluate", *words, "--max-new-tokens", "40", "--batch-size", "1"]

    def start(folder: Path) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, cwd=folder, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=-3, stderr=-3)

    assert start(tmp_path / "undisturbed").wait(120) == 0
    second = Point(RATIOS[1], None).file(workspace / "evaluation" / "language")
    process = start(workspace)
    while process.poll() is None and (not second.exists() or second.read_bytes().count(b"\n") < 1):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not (workspace / "evaluation" / "language" / "evaluation.json").exists()
    assert start(workspace).wait(120) == 0
    ends = [
        without_measurements(Evaluation.read(folder / "evaluation" / "language" / "evaluation.json"))
        for folder in (workspace, tmp_path / "undisturbed")
    ]
    assert ends[0] == ends[1]


@pytest.mark.slow
def test_without_ratios_there_are_captions_with_their_cost_and_no_curve(workspace):
    result = evaluated(workspace, media=("val/media/im_50x40.png", "val/media/clip.mp4"))
    assert (result.curve, result.enough) == (None, None)
    assert (result.matched, result.references_without_caption) == (2, 2)
    assert result.cost is not None
    assert result.cost.tokens_per_frame == 8
    assert [*texts_in(workspace / "evaluation" / "language" / "captions.jsonl")] == [
        "val/media/im_50x40.png",
        "val/media/clip.mp4",
    ]
    narrower = evaluated(workspace, media=("val/media/clip.mp4",))  # the file holds the image's caption, too
    assert narrower.matched == 1
    lines = "\n".join(result.lines())
    assert "2 captions beside their references" in lines
    assert not (workspace / "evaluation" / "language" / "curve.svg").exists()


@pytest.mark.slow
def test_what_cannot_be_captioned_is_counted_and_makes_the_exit_code_3(workspace):
    (workspace / "val" / "media" / "im_50x40.png").write_text("no image")
    result = evaluated(workspace)
    assert (result.uncaptioned, result.matched, result.exit_code) == (1, 3, 3)
    assert any("1 media could not be captioned" in note for note in result.notes)
    rejected = (workspace / "evaluation" / "language" / "rejected.jsonl").read_text()
    assert json.loads(rejected)["media"] == "val/media/im_50x40.png"


def test_a_ratio_that_the_tower_cannot_reach_is_told_before_anything_is_captioned(workspace):
    with pytest.raises(SettingsError, match=r"kept ratio 0\.05, "):
        evaluated(workspace, token_kept_ratios=(1.0, 0.05))
    assert not list((workspace / "evaluation").rglob("*.jsonl"))


def test_a_dry_run_says_how_much_would_be_captioned_and_writes_nothing(workspace):
    result = run(settings_of(workspace, token_kept_ratios=RATIOS), dry_run=True)
    assert result.lines()[0].startswith("Would caption 4 media with runs/language at 3 points, score the captions")
    assert not (workspace / "evaluation").exists()


def test_media_that_are_nowhere_are_told_with_where_to_say_it(workspace):
    (workspace / "val" / "references.jsonl").write_text('{"id": "nobody.png", "references": ["x"]}\n')
    with pytest.raises(DataError, match=r"has none of the media that .* names; the first is nobody\.png") as caught:
        evaluated(workspace)
    assert "--media-root" in (caught.value.hint or "")


def test_a_points_file_that_is_somebody_elses_is_not_replaced(workspace):
    mine = Point(0.5, None).file(workspace / "evaluation" / "language")
    mine.parent.mkdir(parents=True)
    mine.write_text("my notes\n")
    with pytest.raises(UsageError, match="would be replaced"):
        evaluated(workspace, token_kept_ratios=(0.5,))
    assert mine.read_text() == "my notes\n"
