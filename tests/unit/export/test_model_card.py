"""The card of an export says what the model is made of, and admits what nobody recorded."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from aurora_cli.config.settings import ConvertSettings, ModelSettings, Settings
from aurora_cli.data.download.origins import origins_of
from aurora_cli.evaluation.stored import Cost, CurvePoint, Enough, Evaluation, Value
from aurora_cli.io.atomic import read_json, write_json
from aurora_cli.pipeline.convert.command import run
from tests.captioners import WEIGHTS, convert_settings, make_runs
from tests.tokenizing import merged_manifest


def card_of(settings: Settings) -> tuple[dict, str]:
    text = (Path(run(settings).output) / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def record_data(workspace: Path) -> None:
    """As a run, a merged folder and a download leave it behind."""
    resume = workspace / "runs/language/checkpoints/step-00000002/resume"
    resume.mkdir()
    folders = [["tokenized/language/m4/merged", 2.0, 1200], ["tokenized/language/gone/merged", 1.0, 7]]
    (resume / "state.json").write_text(json.dumps({"recipe": {"data folders": folders}}))
    merged = workspace / "tokenized/language/m4/merged"
    merged.mkdir(parents=True)
    merged_manifest(1200, "data/language/m4/m4.jsonl", sha256="ab").write(merged / "manifest.json")
    (workspace / "data/language/m4").mkdir(parents=True)
    listed = {"repo": "a/b", "revision": "main", "commit": "", "settings": {}, "files": []}
    terms = {"language/m4": [asdict(origin) for origin in origins_of("language/m4")]}
    write_json(workspace / "data" / "download.json", {"schema": 1, **listed, "terms": terms})


@pytest.mark.slow
def test_a_run_gives_its_stages_its_data_with_terms_and_its_merging(tmp_path):
    make_runs(tmp_path)
    record_data(tmp_path)
    front, body = card_of(convert_settings(tmp_path, format="huggingface", verify=False))
    assert front["pipeline_tag"] == "image-text-to-text"
    assert "base_model" not in front  # it started from random weights
    for line in (
        "| kept ratio | 0.5 |",
        "| tokens of a frame | 8 of 16 |",
        "**This model is right at kept ratio 0.5, as it was trained: a program that does not merge runs it at kept "
        "ratio 1, which is another model.**",
        "| projection | 2 of 2 | projector |",
        "| language | data/language/m4/m4.jsonl | 1,200 x 2 | [M4-Instruct]"
        "(https://huggingface.co/datasets/lmms-lab/M4-Instruct-Data): CC BY 4.0 (and the terms of use of OpenAI) |",
        "| language | tokenized/language/gone/merged | 7 | not recorded |",
    ):
        assert line in body
    again = convert_settings(tmp_path, checkpoint="export/huggingface", output=Path("again"), verify=False)
    assert "M4-Instruct" in card_of(again)[1]  # an export hands its history on
    history = read_json(tmp_path / "again" / "aurora.json")["history"]
    assert history[1]["data"][0]["files"] == [{"path": "data/language/m4/m4.jsonl", "sha256": "ab"}]


def test_weights_that_say_nothing_get_a_card_that_says_so(tmp_path):
    model = ModelSettings(vision_tower="apple/tower", language_model=str(tmp_path))
    convert = ConvertSettings(checkpoint=str(WEIGHTS), verify=False)
    _, body = card_of(Settings(workspace=tmp_path, model=model, convert=convert))
    assert "do not say" in body
    assert "is not recorded" in body
    assert "does not say how its visual tokens were merged" in body
    assert "another model" not in body  # nothing merges


@pytest.mark.slow
def test_a_card_that_was_edited_stays(tmp_path):
    make_runs(tmp_path)
    settings = convert_settings(tmp_path, verify=False)
    card = Path(run(settings).output) / "README.md"
    card.write_text("mine")
    assert not run(settings).done
    assert card.read_text() == "mine"


def test_an_evaluation_since_the_weights_stands_beside_the_ratio_that_they_are_right_at(tmp_path):
    make_runs(tmp_path)

    def point(ratio: float, frames: int, value: float) -> CurvePoint:
        score = {"cider": Value(value, value - 0.25, value + 0.25)}
        return CurvePoint(ratio, frames, "c.jsonl", 200, score, Cost(8, 8))

    def evaluation(model: str, *curve: CurvePoint) -> Evaluation:
        return Evaluation(
            captions="c.jsonl",
            references=str(tmp_path / "truth.json"),
            tokenizer="python",
            resamples=100,
            seed=0,
            matched=200,
            captions_without_reference=(),
            references_without_caption=(),
            unreadable=(),
            metrics={},
            model=model,
            curve=curve,
            enough=Enough("cider", 0, 0),
        )

    file = tmp_path / "evaluation" / "language" / "evaluation.json"
    curve = point(1.0, 8, 1.5), point(0.5, 4, 9.0), point(0.5, 8, 2.0)
    sentence = (
        "Measured on 200 media of truth.json: cider 2.000 (1.750 to 2.250) at kept ratio 0.5, "
        "1.500 (1.250 to 1.750) at kept ratio 1."
    )
    settings = [
        convert_settings(tmp_path, format="huggingface", output=Path(name), verify=False) for name in ("a", "b", "c")
    ]
    evaluation("runs/language", *curve).write(file)
    assert sentence in card_of(settings[0])[1]
    evaluation("runs/projection", *curve).write(file)
    assert "Measured" not in card_of(settings[1])[1]
    evaluation("runs/language", *curve[:2]).write(file)  # unmerged with other frames is no comparison
    assert "Measured" not in card_of(settings[2])[1]
    evaluation("runs/language", *curve).write(file)
    os.utime(file, (1, 1))  # older than the weights
    again = convert_settings(tmp_path, format="xtuner", output=Path("d"), verify=False)
    assert "Measured" not in card_of(again)[1]
