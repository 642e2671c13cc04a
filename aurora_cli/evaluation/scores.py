"""The metrics: a table of names, and what each is made of. Every one is a function of sums over items."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aurora_cli.evaluation import overlap
from aurora_cli.evaluation.corpus import Corpus, Floats
from aurora_cli.evaluation.rouge import rouge_l
from aurora_cli.evaluation.tokens import TokenizerName, tokenize

BLEU = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
MEANS = ("rouge_l", "cider", "words", "repetition", "cut")
"""Means over items. `words` of a caption; `repetition`: the share of its 4-grams that stand in it before; `cut`: the
share of captions that the limit of tokens ended."""
DISTINCT = ("distinct_1", "distinct_2")
"""Different words, and pairs of words, of all captions over all of them: no sum over items, so without an interval."""

METRICS = (*BLEU, *MEANS, *DISTINCT)


class Scored(NamedTuple):
    """What the metrics are computed from."""

    columns_NC: Floats
    """BLEU's columns, then those of `MEANS`, then ones."""
    distinct: tuple[float, float]
    has_cut: bool
    """Whether it is known which captions the limit of tokens ended."""


def scored(
    captions: Sequence[str], references: Sequence[Sequence[str]], is_cut: Sequence[bool | None], name: TokenizerName
) -> Scored:
    """Tokenize captions and references, and compute what the metrics add up.

    Raises:
        HostError: the tokenizer is not there.
    """
    words = iter(tokenize([text for several in references for text in several], name))
    corpus = Corpus(tokenize(captions, name), [[next(words) for _ in several] for several in references])
    shared = overlap.overlap(corpus)
    cut_N = [float(bool(each)) for each in is_cut]
    means_NM = [rouge_l(corpus), shared.cider_N, corpus.length_T[: corpus.items], shared.repeated_N, cut_N]
    columns_NC = np.column_stack([shared.bleu_NK, *means_NM, np.ones(corpus.items)])
    return Scored(columns_NC, _distinct(corpus), None not in is_cut)


def statistic(sums: Floats) -> Floats:
    """(..., 9): BLEU-1..4 and the means, of sums (..., C) of items' columns: the `Statistic` of `resampling`."""
    means = sums[..., overlap.BLEU_COLUMNS : -1] / sums[..., -1:]
    return np.concatenate([overlap.bleu(sums[..., : overlap.BLEU_COLUMNS]), means], axis=-1)


def of_items(scored: Scored, metric: str) -> Floats:
    """(N,) the metric of each item by itself."""
    return statistic(scored.columns_NC)[:, (*BLEU, *MEANS).index(metric)]


def _distinct(corpus: Corpus) -> tuple[float, float]:
    shares: list[float] = []
    for entries, _ in zip(corpus.entries(), DISTINCT, strict=False):
        is_caption_E = entries.text_E < corpus.items
        every = int(entries.count_E[is_caption_E].sum())
        shares.append(len(np.unique(entries.gram_E[is_caption_E])) / every if every else 0.0)
    return shares[0], shares[1]
