"""Scores of 60 captions, odd ones among them, as `pycocoevalcap` 1.2 gave them with Java (Debian's OpenJDK 17)."""

import json
from pathlib import Path

import numpy as np
import pytest

from aurora_cli.evaluation.corpus import Corpus
from aurora_cli.evaluation.meteor import Meteor, find_meteor
from aurora_cli.evaluation.overlap import bleu, overlap
from aurora_cli.evaluation.rouge import rouge_l
from aurora_cli.evaluation.tokens import find_ptb, tokenize

FOLDER = Path(__file__).parent / "captions"
ROWS = [json.loads(line) for line in (FOLDER / "captions.jsonl").read_text("utf-8").splitlines()]
RECORDED = json.loads((FOLDER / "recorded.json").read_text("utf-8"))
TOKENS = [RECORDED["tokens"][row["id"]] for row in ROWS]
BOUND = 1e-6


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus([each["caption"] for each in TOKENS], [each["references"] for each in TOKENS])


def test_scores_of_all_captions_together_are_those_recorded(corpus):
    shared = overlap(corpus)
    ours = dict(zip(("bleu_1", "bleu_2", "bleu_3", "bleu_4"), bleu(shared.bleu_NK.sum(axis=0)), strict=True))
    ours |= {"rouge_l": rouge_l(corpus).mean(), "cider": shared.cider_N.mean()}
    assert ours == pytest.approx({name: RECORDED["corpus"][name] for name in ours}, abs=BOUND)


def test_scores_of_each_caption_are_those_recorded(corpus):
    shared = overlap(corpus)
    ours = {"bleu_4": bleu(shared.bleu_NK)[:, 3], "rouge_l": rouge_l(corpus), "cider": shared.cider_N}
    for name, values_N in ours.items():
        recorded_N = [RECORDED["items"][row["id"]][name] for row in ROWS]
        np.testing.assert_allclose(values_N, recorded_N, atol=BOUND, rtol=0, err_msg=name)


@pytest.mark.parametrize("tokenizer", ["python", "ptb"])
def test_words_are_those_recorded(tokenizer):
    if tokenizer == "ptb" and find_ptb() is None:
        pytest.skip("pycocoevalcap or Java is not installed: pip install 'aurora-cli[evaluate]'")
    for texts, recorded in (
        ([row["caption"] for row in ROWS], [each["caption"] for each in TOKENS]),
        (
            [text for row in ROWS for text in row["references"]],
            [text for each in TOKENS for text in each["references"]],
        ),
    ):
        assert tokenize(texts, tokenizer) == recorded


@pytest.mark.slow
@pytest.mark.skipif(
    find_meteor() is None, reason="pycocoevalcap or Java is not installed: pip install 'aurora-cli[evaluate]'"
)
def test_meteor_of_all_captions_and_of_each_is_the_recorded_one():
    with Meteor() as meteor:
        columns = meteor.columns([each["caption"] for each in TOKENS], [each["references"] for each in TOKENS])
        assert meteor.statistic(columns.sum(axis=0))[0] == pytest.approx(RECORDED["corpus"]["meteor"], abs=BOUND)
        each_N = meteor.statistic(columns)[:, 0]
    np.testing.assert_allclose(each_N, [RECORDED["items"][row["id"]]["meteor"] for row in ROWS], atol=BOUND, rtol=0)
