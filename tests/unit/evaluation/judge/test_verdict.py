"""What is a verdict and what is none: never a wrong answer made of one that cannot be read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.evaluation.judge.verdict import Verdict, verdict_in

YES4 = Verdict(is_right=True, score=4.0)


@pytest.mark.parametrize(
    "text",
    [
        '{"correct": "yes", "score": 4}',
        '{"correct": true, "score": 4}',
        "{'pred': 'yes', 'score': 4}",
        "{'pred': 'Yes', 'score': 4.0}",
        '{"Correct": "YES", "Score": "4"}',
        '```json\n{"correct": "yes", "score": 4}\n```',
        'The answers agree.\n{"correct": "yes", "score": 4}',
        '<think>\n{"correct": "no", "score": 0}? No.\n</think>\n{"correct": "yes", "score": 4}',
        '{"correct": "yes", "score": 4} {"correct": "yes", "score": 4}',
        'By {"a": 1}: {"correct": "yes", "score": 4}',
        "yes, 4",
        "Yes. Score: 4/5",
        "pred: yes, score: 4",
        "yes\n4 out of 5",
    ],
)
def test_a_verdict_is_read_in_the_forms_that_models_write(text):
    assert verdict_in(text) == YES4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("<think>Let me see, yes 4", "is empty"),
        ("I think it is right.", "holds no verdict"),
        ('{"correct": "yes", "score": 4', "holds no verdict"),
        ('{"correct": "yes"}', "lacks a score"),
        ('{"score": 4}', "lacks yes or no"),
        ('{"correct": "partly", "score": 3}', "says neither yes nor no: 'partly'"),
        ('{"correct": "yes or no", "score": "0 to 5"}', "says neither yes nor no: 'yes or no'"),
        ('{"correct": "yes", "score": 7}', "has no score from 0 to 5: '7'"),
        ('{"correct": "yes", "score": -1}', "has no score from 0 to 5: '-1'"),
        ('{"correct": "yes", "score": NaN}', "has no score from 0 to 5: 'nan'"),
        ('{"correct": "yes", "score": true}', "has no score from 0 to 5: 'True'"),
        ('{"correct": "yes", "score": 4} or {"correct": "no", "score": 1}', "holds verdicts that differ"),
        ("yes, 7", "has no score from 0 to 5: '7'"),
        ("yes and no, 4", "holds no verdict"),
    ],
)
def test_what_is_no_verdict_says_why(text, reason):
    assert verdict_in(text) == reason


@given(st.booleans(), st.integers(0, 50), st.text(st.characters(exclude_characters="{}<"), max_size=40))
def test_every_verdict_in_json_is_read_back_whatever_stands_around_it(is_right, tenths, around):
    text = json.dumps({"correct": "yes" if is_right else "no", "score": tenths / 10})
    assert verdict_in(f"{around}{text}{around}") == Verdict(is_right, tenths / 10)


@given(st.text(max_size=200))
def test_any_text_is_a_verdict_in_its_range_or_a_reason(text):
    found = verdict_in(text)
    assert found if isinstance(found, str) else 0 <= found.score <= 5
