"""ROUGE-L: Lin, ACL workshop 2004, by the longest common subsequence, as `pycocoevalcap` computes it (beta = 1.2)."""

from collections.abc import Sequence

import numpy as np

from aurora_cli.evaluation.corpus import Corpus, Floats

BETA = 1.2


def rouge_l(corpus: Corpus) -> Floats:
    """(N,): F-measure of each caption's best precision and best recall, which may be of two references."""
    score_N = np.zeros(corpus.items)
    text = corpus.items
    for item in range(corpus.items):
        caption = corpus.words_of(item)
        masks = _masks(caption)
        precision = recall = 0.0
        for _ in range(corpus.references_N[item]):
            reference = corpus.words_of(text)
            text += 1
            common = _common(masks, len(caption), reference)
            if not caption and not reference:
                common = 1  # the published code takes an empty text for one empty word
            precision = max(precision, common / max(1, len(caption)))
            recall = max(recall, common / max(1, len(reference)))
        if precision and recall:
            score_N[item] = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return score_N


def longest_common_subsequence(first: Sequence[int], second: Sequence[int]) -> int:
    """
    >>> longest_common_subsequence([1, 2, 3, 4, 5], [2, 9, 4, 1, 5])
    3
    """
    return _common(_masks(first), len(first), second)


def _masks(words: Sequence[int]) -> dict[int, int]:
    """Word -> a number whose bits say where it stands."""
    masks: dict[int, int] = {}
    for index, word in enumerate(words):
        masks[word] = masks.get(word, 0) | 1 << index
    return masks


def _common(masks: dict[int, int], length: int, other: Sequence[int]) -> int:
    """Bits of a column of the table at once (Hyyro, 2004): a 0 stands where the subsequence grows by a word."""
    every = (1 << length) - 1
    column = every
    for word in other:
        if mask := masks.get(word):
            matched = column & mask
            column = ((column + matched) | (column - matched)) & every
    return length - column.bit_count()
