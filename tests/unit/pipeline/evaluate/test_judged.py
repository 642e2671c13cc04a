"""`aurora evaluate --judge` against a judge on a loopback port, with faults, kills and changed captions."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurora_cli.config.settings import EvaluateSettings, Settings
from aurora_cli.errors import EXIT_DATA, EXIT_OK, HostError, UsageError
from aurora_cli.evaluation.judge import endpoint
from aurora_cli.evaluation.stored import Evaluation
from aurora_cli.pipeline.evaluate.command import run
from aurora_cli.pipeline.evaluate.result import EvaluateResult, PromptsResult
from tests.judging import KEY, Stub, running_judge
from tests.run_files import json_lines

CAPTIONS = {"a": "colour: red, shape: round", "b": "colour: blue", "c": "nothing of it"}


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("AURORA_JUDGE_KEY", KEY)
    with running_judge() as stub:
        yield stub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_captions(tmp_path / "c.jsonl", CAPTIONS)
    rows = [
        {"id": "a", "qa": [pair("colour", "red"), pair("shape", "square", "Main Object")]},
        {"id": "b", "qa": [pair("colour", "blue"), pair("shape", "square", "Main Object")]},
        {"id": "c", "qa": [pair("colour", "red")]},
        {"id": "d", "qa": [pair("colour", "red")]},
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def pair(question: str, answer: str, category: str = "short") -> dict[str, str]:
    return {"question": f"{question}?", "answer": answer, "category": category}


def write_captions(path: Path, captions: dict[str, str]) -> None:
    path.write_text("".join(json.dumps({"id": name, "caption": text}) + "\n" for name, text in captions.items()))


def evaluated(folder: Path, judge: Stub, **values: object) -> EvaluateResult:
    settings = {"url": judge.url, "model": "m", "tries": 2, **{k: values.pop(k) for k in [*values] if k in JUDGE}}
    given = {"captions": "c.jsonl", "references": "q.jsonl", "resamples": 100, "judge": settings, **values}
    result = run(Settings(workspace=folder, evaluate=EvaluateSettings.model_validate(given)))
    assert isinstance(result, EvaluateResult)
    return result


JUDGE = ("concurrency", "prompts", "tries", "model", "url", "max_tokens")


def journal(folder: Path) -> list[dict[str, object]]:
    text = (folder / "evaluation" / "c" / "judgements.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_questions_are_answered_from_the_caption_and_judged(folder, judge):
    """a: red is right, the shape is round; b: blue is right, the shape is not mentioned; c: nothing is."""
    result = evaluated(folder, judge)
    assert {name: value.value for name, value in result.metrics.items()} == {
        "vdc_accuracy": pytest.approx((1 / 2 + 1 / 2 + 0) / 3),
        "vdc_score": pytest.approx((3 + 3 + 1) / 3),
        "vdc_accuracy_short": pytest.approx(2 / 3),
        "vdc_score_short": pytest.approx(11 / 3),
        "vdc_accuracy_main_object": 0.0,
        "vdc_score_main_object": 1.0,
    }
    assert result.judged is not None
    assert (result.judged.questions, result.judged.scored, result.judged.requests) == (5, 5, 10)
    assert (result.judged.prompt_tokens, result.judged.completion_tokens) == (1000, 30)
    assert result.judged.by_category == {"short": 3, "main_object": 2}
    assert (result.exit_code, result.references_without_caption, result.notes) == (EXIT_OK, 1, result.notes[:1])
    written = Evaluation.read(folder / "evaluation" / "c" / "evaluation.json")
    assert (written.metrics, written.judged) == (result.metrics, result.judged)
    assert "5 of 5 questions judged by m; 1,000 tokens read and 30 written in 10 requests" in result.lines()
    first = next(line for line in journal(folder) if (line["id"], line["question"]) == ("a", "shape?"))
    assert (first["answer"], first["right_answer"], json.loads(str(first["reply"]))["correct"]) == (
        "round",
        "square",
        "no",
    )


def test_what_was_judged_is_not_asked_again_and_a_changed_caption_is(folder, judge):
    before = evaluated(folder, judge)
    judge.prompts.clear()
    assert evaluated(folder, judge).metrics == before.metrics
    assert judge.prompts == []
    write_captions(folder / "c.jsonl", {**CAPTIONS, "c": "colour: red"})
    assert evaluated(folder, judge).metrics["vdc_accuracy"].value == pytest.approx(2 / 3)
    assert judge.questions() == {"colour?": 1}
    judge.prompts.clear()
    evaluated(folder, judge, model="another")
    assert len(judge.prompts) == 10
    write_captions(folder / "c.jsonl", CAPTIONS)
    judge.prompts.clear()
    assert evaluated(folder, judge).metrics == before.metrics
    assert judge.prompts == []


def test_other_prompts_are_other_judgements(folder, judge):
    written = run(
        Settings(workspace=folder, evaluate=EvaluateSettings.model_validate({"judge": {"write_prompts": "mine"}}))
    )
    assert isinstance(written, PromptsResult)
    assert [Path(path).name for path in written.prompts] == ["answer.txt", "judge.txt"]
    evaluated(folder, judge)
    judge.prompts.clear()
    evaluated(folder, judge, prompts="mine")
    assert judge.prompts == []
    with (folder / "mine" / "judge.txt").open("a") as file:
        file.write("Be strict.\n")
    evaluated(folder, judge, prompts="mine")
    assert len(judge.prompts) == 10
    assert sum("Be strict." in prompt for prompt in judge.prompts) == 5


def test_replies_that_hold_no_verdict_are_listed_and_no_zeros(folder, judge):
    judge.replies = {"Given answer: blue": "Well, it could be.", "Question: shape?\n\nAnswer": "<think>so</think>"}
    result = evaluated(folder, judge)
    assert result.judged is not None
    assert [(each.id, each.question, each.reason) for each in result.judged.unparseable] == [
        ("a", "shape?", "the answer is empty"),
        ("b", "colour?", "holds no verdict: 'Well, it could be.'"),
        ("b", "shape?", "the answer is empty"),
    ]
    assert result.metrics["vdc_accuracy"].value == pytest.approx((1 + 0) / 2)  # b has no verdict at all
    assert "vdc_accuracy_main_object" not in result.metrics
    assert result.judged.requests == 8
    assert result.exit_code == EXIT_OK
    shown = "\n".join(result.lines())
    assert "3 replies hold no verdict, and are no part of a score" in shown
    assert "b: colour? (holds no verdict: 'Well, it could be.')" in shown


def test_a_question_that_fails_is_listed_makes_the_exit_code_3_and_is_asked_alone_the_next_time(folder, judge):
    judge.always = {"colour: blue": "500"}
    result = evaluated(folder, judge)
    assert result.judged is not None
    assert [(each.id, each.question) for each in result.judged.failed] == [("b", "colour?"), ("b", "shape?")]
    assert "HTTP 500" in result.judged.failed[0].reason
    assert result.exit_code == EXIT_DATA
    assert result.judged.scored == 3
    judge.always, judge.prompts = {}, []
    again = evaluated(folder, judge)
    assert judge.questions() == {"colour?": 1, "shape?": 1}
    assert again.exit_code == EXIT_OK
    assert again.metrics["vdc_accuracy"].value == pytest.approx(1 / 3)


def test_faults_on_the_way_change_no_score(folder, judge, tmp_path):
    whole = evaluated(folder, judge)
    (folder / "evaluation" / "c" / "judgements.jsonl").unlink()
    judge.faults = ["429", "cut", "malformed", "503", "torn"]
    assert evaluated(folder, judge, tries=6) == whole


def test_no_more_requests_run_at_a_time_than_are_allowed(folder, judge):
    judge.delay_s = 0.03
    evaluated(folder, judge, concurrency=3)
    assert judge.most_running == 3


def test_a_judge_that_is_gone_is_given_up_and_what_it_said_is_kept(folder, judge):
    many = [{"id": "a", "qa": [pair(f"q{number}", "x") for number in range(40)]}]
    (folder / "many.jsonl").write_text(json.dumps(many[0]) + "\n")
    judge.faults = ["ok"] * 10 + ["500"] * 1000
    with pytest.raises(HostError, match=r"10 questions one after another failed.*HTTP 500"):
        evaluated(folder, judge, references="many.jsonl", concurrency=1, tries=1)
    assert len(journal(folder)) == 5
    judge.faults, judge.prompts = [], []
    result = evaluated(folder, judge, references="many.jsonl")
    assert sum(judge.questions().values()) == 35
    assert result.judged is not None
    assert result.judged.scored == 40


def test_a_wrong_key_ends_it_at_once(folder, judge):
    judge.faults = ["401"] * 20
    with pytest.raises(HostError, match="HTTP 401") as error:
        evaluated(folder, judge, concurrency=1)
    assert KEY not in str(error.value)
    assert len(judge.prompts) == 1


def test_the_key_is_in_no_file(folder, judge):
    judge.always = {"colour: blue": "400"}
    judge.replies = {"Given answer: red": f"You sent {KEY}"}
    result = evaluated(folder, judge)
    assert judge.authorization == {f"Bearer {KEY}"}
    written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert KEY.encode() not in written
    assert KEY not in "\n".join(result.lines())


def test_two_models_are_compared_by_the_judge(folder, judge):
    captions = {"old/a.png": "colour: red, shape: square", "old/b.png": "colour: green", "e": "x"}
    write_captions(folder / "old.jsonl", captions)
    result = evaluated(folder, judge, against="old.jsonl")
    against = result.against
    assert against is not None
    assert against.matched == 2
    assert against.metrics["vdc_accuracy"].value == pytest.approx((1 / 2 + 1 / 2) / 2 - (1 + 0) / 2)
    assert against.metrics["vdc_accuracy_main_object"].value == pytest.approx(-1 / 2)
    assert against.metrics["vdc_score"].p is not None
    assert against.apart_by == "vdc_score"
    assert [(each.id, each.difference, each.against) for each in against.apart] == [
        ("a", 3 - 5, "colour: red, shape: square"),
        ("b", 3 - 1, "colour: green"),
    ]
    judge.prompts.clear()
    evaluated(folder, judge, captions="old.jsonl")
    assert judge.prompts == []  # its judgements lie where evaluating it alone finds them


def test_references_and_questions_of_one_file_are_both_scored(folder, judge):
    rows = json_lines(folder / "q.jsonl")
    rows[0]["references"], rows[1]["caption"] = ["colour: red, shape: round"], "colour: blue"
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = evaluated(folder, judge, tokenizer="python")
    assert result.metrics["bleu_1"].value == pytest.approx(1.0)
    assert result.metrics["vdc_accuracy"].value == pytest.approx(1 / 3)
    assert [*evaluated(folder, judge, metrics=("vdc_score",)).metrics] == [
        "vdc_score",
        "vdc_score_short",
        "vdc_score_main_object",
    ]
    judge.prompts.clear()
    plain = run(
        Settings(
            workspace=folder,
            evaluate=EvaluateSettings(captions=Path("c.jsonl"), references=Path("q.jsonl"), tokenizer="python"),
        )
    )
    assert isinstance(plain, EvaluateResult)
    assert "vdc_score" not in plain.metrics
    assert plain.metrics["bleu_1"].value == pytest.approx(1.0)


def test_questions_that_are_none_are_listed(folder, judge):
    with (folder / "q.jsonl").open("a") as file:
        file.write(json.dumps({"id": "c", "qa": [{"question": "shape?"}, pair("colour", "blue")]}) + "\n")
        file.write(json.dumps({"id": "z", "qa": []}) + "\n")
    result = evaluated(folder, judge)
    written = Evaluation.read(folder / "evaluation" / "c" / "evaluation.json")
    assert written.unreadable == (
        ("q.jsonl", 5, "qa[1]: has no question and answer"),
        ("q.jsonl", 6, "qa: a list of questions was expected"),
    )
    assert result.exit_code == EXIT_DATA
    assert result.judged is not None
    assert result.judged.questions == 6


def test_rows_as_vdc_has_them_are_read(folder, judge):
    row = {"video_name": "a", "caption": "A red thing.", "qa_list": [{"question": "colour?", "answer": "red"}]}
    (folder / "q.jsonl").write_text(json.dumps(row) + "\n")
    result = evaluated(folder, judge, metrics=("vdc_accuracy",))
    assert {name: value.value for name, value in result.metrics.items()} == {"vdc_accuracy": 1.0}


def test_a_dry_run_says_how_many_questions_it_would_ask_and_asks_none(folder, judge):
    write_captions(folder / "c.jsonl", {**CAPTIONS, "d": CAPTIONS["c"]})  # as c, with the same question
    settings = {"captions": "c.jsonl", "references": "q.jsonl", "judge": {"url": judge.url, "model": "m"}}
    planned = run(Settings(workspace=folder, evaluate=EvaluateSettings.model_validate(settings)), dry_run=True)
    assert planned.lines()[1] == "Would have 5 of 6 questions judged by m"
    assert judge.prompts == []
    assert not (folder / "evaluation").exists()
    evaluated(folder, judge)
    planned = run(Settings(workspace=folder, evaluate=EvaluateSettings.model_validate(settings)), dry_run=True)
    assert planned.lines()[1] == "Would have 0 of 6 questions judged by m"


def test_what_was_asked_at_several_points_adds_up(folder, judge):
    judge.always = {"colour: blue": "400"}
    first = evaluated(folder, judge).judged
    write_captions(folder / "c.jsonl", {"a": "colour: green"})
    second = evaluated(folder, judge).judged
    assert first is not None
    assert second is not None
    both = first + second
    assert (both.questions, both.scored, both.requests, both.prompt_tokens) == (5 + 2, 3 + 2, 6 + 4, 600 + 400)
    assert both.by_category == {"short": 3, "main_object": 2}
    assert [each.id for each in both.failed] == ["b", "b"]


def test_what_is_missing_says_what_to_type(folder, judge):
    plain = {"captions": "c.jsonl", "references": "q.jsonl"}
    for given, message in (
        (plain, "--judge http"),
        ({**plain, "judge": {"url": judge.url}}, "--judge-model NAME"),
        ({**plain, "metrics": "vdc_score"}, "vdc_score: takes a judge"),
        ({**plain, "judge": {"url": "here", "model": "m"}}, "is no http or https address"),
    ):
        with pytest.raises(UsageError) as error:
            run(Settings(workspace=folder, evaluate=EvaluateSettings.model_validate(given)))
        assert message in str(error.value)
    (folder / "r.jsonl").write_text('{"id": "a", "references": ["x"]}\n')
    with pytest.raises(UsageError, match="holds no questions for the judge"):
        evaluated(folder, judge, references="r.jsonl")


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_time_is_gone_on_with(folder, judge):
    """Killed while it asks; then it ends, and nothing was asked twice but what was under way."""
    rows = [{"id": name, "qa": [pair(f"{each}{name}", "red") for each in range(12)]} for name in CAPTIONS]
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = evaluated(folder, judge)
    lines = folder / "evaluation" / "c" / "judgements.jsonl"
    lines.unlink()
    (folder / "evaluation" / "c" / "evaluation.json").unlink()
    judge.prompts, judge.delay_s = [], 0.02
    command = [sys.executable, "-m", "aurora_cli", "evaluate", "c.jsonl", "--references", "q.jsonl"]
    command += [
        "--judge",
        judge.url,
        "--judge-model",
        "m",
        "--judge-concurrency",
        "2",
        "--set",
        "evaluate.resamples=100",
    ]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and (not lines.exists() or lines.read_bytes().count(b"\n") < 8):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    with lines.open("a") as file:
        file.write('{"key": "torn')
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr
    assert Evaluation.read(folder / "evaluation" / "c" / "evaluation.json").metrics == whole.metrics
    assert sum(judge.questions().values()) <= 36 + 2


def test_ctrl_c_waits_for_no_reply(folder, judge):
    judge.delay_s = 30.0
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        evaluated(folder, judge)
    assert time.monotonic() - begin < 5
