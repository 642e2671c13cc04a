"""BLEU, CIDEr-D and ROUGE-L: by hand, and against slow code that counts with dictionaries."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.evaluation.corpus import Corpus
from aurora_cli.evaluation.overlap import bleu, overlap
from aurora_cli.evaluation.rouge import longest_common_subsequence, rouge_l

WORDS = st.lists(st.sampled_from("abcde"), max_size=7).map(" ".join)
ITEMS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=5)
DOGS, BOATS = "a dog runs fast", "two boats leave the bay"


def grams(text: str, n: int) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))


def slow_cider(items: list[tuple[str, list[str]]]) -> list[float]:
    """Vedantam et al., section 5, a pair at a time; words that a text is longer counted in pairs of words."""
    scores: list[float] = []
    frequency = Counter(
        gram
        for _, references in items
        for gram in {g for each in references for n in range(1, 5) for g in grams(each, n)}
    )

    def vector(text: str, n: int) -> dict[tuple[str, ...], float]:
        return {g: c * (math.log(len(items)) - math.log(max(1, frequency[g]))) for g, c in grams(text, n).items()}

    for caption, references in items:
        total = 0.0
        for reference in references:
            away = max(0, len(caption.split()) - 1) - max(0, len(reference.split()) - 1)
            for n in range(1, 5):
                ours, theirs = vector(caption, n), vector(reference, n)
                norms = math.sqrt(sum(x * x for x in ours.values())) * math.sqrt(sum(x * x for x in theirs.values()))
                product = sum(min(x, theirs.get(g, 0.0)) * theirs.get(g, 0.0) for g, x in ours.items())
                total += (product / norms if norms else 0.0) * math.exp(-(away**2) / 72)
        scores.append(10 * total / 4 / len(references))
    return scores


def slow_bleu_4(items: list[tuple[str, list[str]]]) -> float:
    """Papineni et al.: clipped matches over n-grams, and the penalty of texts shorter than the closest references."""
    precision, words, closest = 1.0, 0, 0
    for n in range(1, 5):
        correct = guesses = 0
        for caption, references in items:
            found = grams(caption, n)
            most = Counter[tuple[str, ...]]()
            for each in references:
                most |= grams(each, n)
            correct += (found & most).total()
            guesses += found.total()
        precision *= (correct + 1e-15) / (guesses + 1e-9)
    for caption, references in items:
        length = len(caption.split())
        words += length
        closest += min((abs(len(each.split()) - length), len(each.split())) for each in references)[1]
    ratio = (words + 1e-15) / (closest + 1e-9)
    return precision**0.25 * (math.exp(1 - 1 / ratio) if ratio < 1 and ratio > 1e-3 else 1.0 if ratio >= 1 else 0.0)


def corpus(items: list[tuple[str, list[str]]]) -> Corpus:
    return Corpus([caption for caption, _ in items], [references for _, references in items])


@pytest.mark.slow
@given(ITEMS)
def test_whatever_the_words_scores_are_those_of_slow_counting(items):
    shared = overlap(corpus(items))
    np.testing.assert_allclose(shared.cider_N, slow_cider(items), atol=1e-9)
    assert bleu(shared.bleu_NK.sum(axis=0))[3] == pytest.approx(slow_bleu_4(items), abs=1e-12)


def test_cider_of_an_equal_a_shuffled_and_an_empty_caption():
    """Two media: every n-gram of one is log 2 rare, so that a likeness is a share of matching n-grams."""
    other = (BOATS, [BOATS])
    equal, shuffled, empty = (
        overlap(corpus([(caption, [DOGS]), other])).cider_N[0] for caption in (DOGS, "fast runs dog a", "")
    )
    assert equal == pytest.approx(10.0)  # four likenesses of 1
    assert shuffled == pytest.approx(2.5)  # all words, and no pair of them
    assert empty == 0.0


def test_a_caption_of_twice_the_words_loses_by_the_gaussian_of_its_length():
    """`a dog a dog` beside `a dog`: counts of 2 are cut to 1, words: 2 / (2 * sqrt 2 * ...) and 3 pairs beside 1."""
    items = [("a dog a dog", ["a dog"]), (BOATS, [BOATS])]
    words = (1 * 1 + 1 * 1) / (math.sqrt(8) * math.sqrt(2))
    pairs = 1 * 1 / (math.sqrt(2**2 + 1) * 1)
    expected = 10 * (words + pairs) / 4 * math.exp(-(2**2) / 72)
    assert overlap(corpus(items)).cider_N[0] == pytest.approx(expected)


def test_a_medium_alone_has_no_rare_words():
    assert overlap(corpus([(DOGS, [DOGS])])).cider_N[0] == 0.0


@pytest.mark.slow
@given(st.lists(st.integers(0, 3), max_size=9), st.lists(st.integers(0, 3), max_size=9))
def test_the_longest_common_subsequence_is_that_of_the_table(first, second):
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            table[i + 1, j + 1] = table[i, j] + 1 if one == other else max(table[i, j + 1], table[i + 1, j])
    assert longest_common_subsequence(first, second) == table[-1, -1]


def test_rouge_takes_the_best_precision_and_the_best_recall():
    """`a dog runs` beside `a dog runs fast` (recall 3/4) and `dog` (recall 1): precision 1 and 1/3."""
    score = rouge_l(corpus([("a dog runs", [DOGS, "dog"])]))[0]
    assert score == pytest.approx((1 + 1.44) * 1 * 1 / (1 + 1.44 * 1))


@pytest.mark.parametrize(
    ("caption", "share"),
    [
        ("a b c d e f g h", 0.0),
        ("a b c d a b c d", 1 / 5),
        ("a b a b a b a b", 3 / 5),
        ("a a a a a a a", 3 / 4),
        ("", 0),
    ],
)
def test_repetition_is_the_share_of_4_grams_that_stood_there_before(caption, share):
    assert overlap(corpus([(caption, [DOGS])])).repeated_N[0] == pytest.approx(share)
