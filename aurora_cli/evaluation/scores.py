"""The metrics: a table of names, and what each is made of. Every one is a function of sums over items."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aurora_cli.evaluation import overlap
from aurora_cli.evaluation.corpus import Corpus, Floats
from aurora_cli.evaluation.meteor import Meteor
from aurora_cli.evaluation.rouge import rouge_l
from aurora_cli.evaluation.spice import spice
from aurora_cli.evaluation.tokens import TokenizerName, tokenize

BLEU = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
MEANS = ("rouge_l", "cider", "words", "repetition", "cut")
"""Means over items. `words` of a caption; `repetition`: the share of its 4-grams that stand in it before; `cut`: the
share of captions that the limit of tokens ended."""
DISTINCT = ("distinct_1", "distinct_2")
"""Different words, and pairs of words, of all captions over all of them: no sum over items, so without an interval."""

METEOR, SPICE = "meteor", "spice"

METRICS = (*BLEU, "rouge_l", METEOR, "cider", SPICE, *MEANS[2:], *DISTINCT)
"""In the order in which they are shown."""

ON_REQUEST = (SPICE,)
"""Only where they are named."""


class Scored(NamedTuple):
    """What the metrics are computed from."""

    columns_NC: Floats
    """BLEU's columns, those of `MEANS`, SPICE where it is wanted, ones; then METEOR's, where it runs."""
    distinct: tuple[float, float]
    has_cut: bool
    """Whether it is known which captions the limit of tokens ended."""


class Scorer:
    """Computes the metrics, with METEOR's program running beside it where there is one and it is wanted."""

    def __init__(self, tokenizer: TokenizerName, meteor: Meteor | None = None, *, has_spice: bool = False) -> None:
        self._tokenizer: TokenizerName = tokenizer
        self._meteor, self._has_spice = meteor, has_spice
        means = (*MEANS, SPICE) if has_spice else MEANS
        self._own = overlap.BLEU_COLUMNS + len(means) + 1
        """Columns without METEOR's."""
        self.names = (*BLEU, *means) if meteor is None else (*BLEU, *means, METEOR)
        """What `statistic` gives."""

    def scored(
        self, captions: Sequence[str], references: Sequence[Sequence[str]], is_cut: Sequence[bool | None]
    ) -> Scored:
        """Tokenize captions and references, and compute what the metrics add up.

        Raises:
            HostError: the tokenizer or SPICE is not there, or a program of Java's fails.
        """
        corpus, by_programs = self._read(captions, references)
        shared = overlap.overlap(corpus)
        cut_N = [float(bool(each)) for each in is_cut]
        means_NM = [rouge_l(corpus), shared.cider_N, corpus.length_T[: corpus.items], shared.repeated_N, cut_N]
        if SPICE in by_programs:
            means_NM.append(by_programs[SPICE])
        columns = [shared.bleu_NK, *means_NM, np.ones(corpus.items)]
        if METEOR in by_programs:
            columns.append(by_programs[METEOR])
        return Scored(np.column_stack(columns), shared.distinct, None not in is_cut)

    def _read(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Corpus, dict[str, Floats]]:
        """Words as numbers, and what programs give that want them as texts: of many, those are not kept."""
        words = iter(tokenize([text for several in references for text in several], self._tokenizer))
        of_references = [[next(words) for _ in each] for each in references]
        tokens = tokenize(captions, self._tokenizer)
        found: dict[str, Floats] = {}
        if self._meteor is not None:
            found[METEOR] = self._meteor.columns(tokens, of_references)
        if self._has_spice:
            found[SPICE] = spice(tokens, of_references)
        return Corpus(tokens, of_references), found

    def statistic(self, sums: Floats) -> Floats:
        """(..., S): the metrics of `names`, of sums (..., C) of items' columns: the `Statistic` of `resampling`."""
        own = self._own
        means = sums[..., overlap.BLEU_COLUMNS : own - 1] / sums[..., own - 1 : own]
        scores = [overlap.bleu(sums[..., : overlap.BLEU_COLUMNS]), means]
        if self._meteor is not None:
            scores.append(self._meteor.statistic(sums[..., own:]))
        return np.concatenate(scores, axis=-1)

    def cider(self, scored: Scored) -> Floats:
        """(N,) CIDEr of each caption by itself."""
        return scored.columns_NC[:, overlap.BLEU_COLUMNS + MEANS.index("cider")]
