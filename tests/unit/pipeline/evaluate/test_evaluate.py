"""`aurora evaluate` from files to results."""

import json
from pathlib import Path

import pytest

from aurora_cli.config.settings import EvaluateSettings, Settings
from aurora_cli.errors import DataError, HostError, UsageError
from aurora_cli.evaluation.meteor import find_meteor
from aurora_cli.evaluation.scores import METRICS
from aurora_cli.evaluation.stored import Evaluation
from aurora_cli.evaluation.tokens import find_ptb
from aurora_cli.pipeline.evaluate.command import run
from aurora_cli.pipeline.evaluate.result import EvaluateResult
from tests.run_files import json_lines

GOLDEN = Path(__file__).parents[3] / "golden" / "captions"


def evaluated(folder: Path, **values: object) -> EvaluateResult:
    given = {"captions": "c.jsonl", "references": "r.jsonl", "tokenizer": "python", "resamples": 100, **values}
    return run(Settings(workspace=folder, evaluate=EvaluateSettings.model_validate(given)))


@pytest.fixture
def folder(tmp_path):
    rows = (GOLDEN / "captions.jsonl").read_text("utf-8")
    (tmp_path / "c.jsonl").write_text(rows)
    (tmp_path / "r.jsonl").write_text(rows)
    return tmp_path


def test_the_result_is_the_file_and_holds_every_metric_with_its_interval(folder):
    result = evaluated(folder)
    recorded = json.loads((GOLDEN / "recorded.json").read_text("utf-8"))["corpus"]
    assert (result.matched, result.tokenizer, result.exit_code) == (60, "python", 0)
    for name in ("bleu_1", "bleu_4", "rouge_l", "cider"):
        assert result.metrics[name].value == pytest.approx(recorded[name], abs=1e-6)
    lacking = {"cut", "spice"} | (set() if find_meteor() else {"meteor"})  # nobody knows what limit they had
    assert [*result.metrics] == [name for name in METRICS if name not in lacking]
    for name, value in result.metrics.items():
        if not name.startswith("distinct"):
            assert value.low is not None
            assert value.high is not None
            assert value.low <= value.value <= value.high
    assert Evaluation.read(folder / "evaluation" / "c" / "evaluation.json").metrics == result.metrics
    shown = "\n".join(result.lines())
    assert "60 captions" in shown
    assert "python tokenizer" in shown


def test_metrics_are_selected_by_name_and_an_unknown_one_is_named_with_those_there_are(folder):
    assert [*evaluated(folder, metrics=("rouge_l", "bleu_2")).metrics] == ["bleu_2", "rouge_l"]
    with pytest.raises(UsageError, match="--metric chrf: is no metric; there are bleu_1"):
        evaluated(folder, metrics=("chrf",))


def test_spice_that_is_not_there_is_said_before_anything_is_written(folder, monkeypatch):
    monkeypatch.setattr("aurora_cli.evaluation.spice.find_jar", lambda _: None)
    with pytest.raises(HostError, match="SPICE takes"):
        evaluated(folder, metrics=("cider", "spice"))
    assert not (folder / "evaluation").exists()


def test_results_with_other_references_stay(folder):
    texts = (folder / "r.jsonl").read_text("utf-8")
    others = [Path("val", "r.jsonl"), Path("other.jsonl"), Path("sets", "val", "other.jsonl")]
    for path in others:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(texts)
    folders = [Path(evaluated(folder, references=str(each)).output).parent.name for each in ("r.jsonl", *others)]
    assert folders == ["c", "c-r", "c-other", "c-val-other"]
    again = [Path(evaluated(folder, references=str(each)).output).parent.name for each in ("r.jsonl", *others)]
    assert again == folders


def test_what_cannot_be_scored_is_counted_named_and_makes_the_exit_code_3(folder):
    with (folder / "c.jsonl").open("a") as file:
        file.write('{"id": "nobody", "caption": "x"}\n{"id"\n')
    with (folder / "r.jsonl").open("a") as file:
        file.write('{"id": "unseen", "references": ["x"]}\n')
    result = evaluated(folder)
    assert (result.captions_without_reference, result.references_without_caption, result.unreadable) == (1, 1, 1)
    assert result.exit_code == 3
    for named, note in zip(("nobody", "unseen", "c.jsonl:62"), result.notes, strict=False):
        assert named in note
    written = Evaluation.read(folder / "evaluation" / "c" / "evaluation.json")
    assert (written.captions_without_reference, written.references_without_caption) == (("nobody",), ("unseen",))


@pytest.mark.slow
def test_two_models_are_compared_on_the_media_that_both_caption(folder):
    rows = json_lines(folder / "c.jsonl")
    worse = [{**row, "caption": row["caption"].replace("a ", "the ")} for row in rows[:50]]
    (folder / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in worse))
    against = evaluated(folder, against="old.jsonl", resamples=200).against
    assert against is not None
    assert against.matched == 50
    assert against.metrics["cider"].value > 0
    assert against.metrics["cider"].p is not None
    assert against.metrics["cider"].p < 0.05
    assert "cut" not in against.metrics
    apart = [abs(each.difference) for each in against.apart]
    assert apart == sorted(apart, reverse=True)
    assert 0 < len(apart) <= 20
    (folder / "torn.jsonl").write_text((folder / "old.jsonl").read_text() + '{"id"')
    torn = evaluated(folder, against="torn.jsonl", metrics=("cider",))
    assert (torn.unreadable, torn.exit_code) == (1, 3)
    back = evaluated(folder, captions="old.jsonl", against="c.jsonl", resamples=200).against
    assert back is not None
    assert back.metrics["cider"].value == pytest.approx(-against.metrics["cider"].value)


def test_two_models_whose_files_name_the_media_otherwise_are_compared(folder):
    rows = json_lines(folder / "c.jsonl")
    (folder / "old.jsonl").write_text("".join(json.dumps({**row, "id": f"old/{row['id']}"}) + "\n" for row in rows))
    against = evaluated(folder, against="old.jsonl", metrics=("cider",)).against
    assert against is not None
    assert (against.matched, against.metrics["cider"].value) == (60, 0)


def test_nothing_named_nothing_there_and_nothing_that_meets_are_errors_that_say_what_to_do(folder):
    with pytest.raises(UsageError, match="no references are named"):
        evaluated(folder, references=None)
    with pytest.raises(DataError, match="no captions are named, and there is no model here"):
        evaluated(folder, captions=None)
    with pytest.raises(DataError, match="there is no such file of captions"):
        evaluated(folder, captions="nowhere.jsonl")
    (folder / "else.jsonl").write_text('{"id": "other", "references": ["x"]}\n')
    with pytest.raises(DataError, match="it begins with 'plain-00', the references with 'other'"):
        evaluated(folder, references="else.jsonl")


def test_a_dry_run_writes_nothing(folder):
    settings = Settings(
        workspace=folder, evaluate=EvaluateSettings(captions=Path("c.jsonl"), references=Path("r.jsonl"))
    )
    assert "Would score" in run(settings, dry_run=True).lines()[0]
    assert not (folder / "evaluation").exists()


def test_the_tokenizer_is_never_swapped_in_silence(folder, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    result = evaluated(folder, tokenizer="auto")
    assert result.tokenizer == "python"
    assert [note.split(":")[0] for note in result.notes] == [
        "meteor is left out",
        "publications cut words with Java's tokenizer",
    ]
    with pytest.raises(HostError, match="takes pycocoevalcap and Java"):
        evaluated(folder, tokenizer="ptb")


@pytest.mark.skipif(
    find_ptb() is None, reason="pycocoevalcap or Java is not installed: pip install 'aurora-cli[evaluate]'"
)
@pytest.mark.slow
def test_a_caption_with_line_ends_shifts_no_other():
    from aurora_cli.evaluation.tokens import tokenize

    texts = ["", "one\rtwo", "three\u2028four\x85five", "six\n", "", "...", "seven", ""]
    assert tokenize(texts, "ptb") == ["", "one two", "three four five", "six", "", "", "seven", ""]
