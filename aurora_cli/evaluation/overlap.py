"""BLEU and CIDEr-D of all items at once. Shapes as in `corpus.py`; E entries of captions, R entries of references.

BLEU: Papineni et al., ACL 2002, with the closest reference's length. CIDEr-D: Vedantam et al., CVPR 2015, section 5.
Both as `pycocoevalcap` computes them, down to its small constants, so that published numbers can be compared.
"""

from typing import NamedTuple

import numpy as np

from aurora_cli.evaluation.corpus import LONGEST, Corpus, Entries, Floats, Ints

TINY, SMALL = 1e-15, 1e-9
"""Added above and below the line, where a precision would be 0 / 0."""

SIGMA = 6.0
"""CIDEr-D's: how fast a caption loses that is longer or shorter than its reference."""

BLEU_COLUMNS = 2 * LONGEST + 2


class Overlap(NamedTuple):
    """What the n-grams of the captions share with those of their references."""

    bleu_NK: Floats
    """Of each item what BLEU adds up: n-grams that match for n = 1..4, n-grams for n = 1..4, words, words of the
    reference whose length is closest."""
    cider_N: Floats
    repeated_N: Floats
    """Share of a caption's 4-grams that stand in it before (rep-4: Welleck et al., ICLR 2020); 0 below five words."""
    distinct: tuple[float, float]
    """Different words, and pairs of words, of all captions over all of them."""


def overlap(corpus: Corpus) -> Overlap:
    """Count n-grams once for both."""
    columns: list[Floats] = []
    different: list[float] = []
    cider_N = np.zeros(corpus.items)
    repeated_N = np.zeros(corpus.items)
    for entries in corpus.entries():
        split = int(np.searchsorted(entries.text_E, corpus.items))
        shared = _Shared(corpus, entries, split)
        columns.append(_matches(corpus, entries, shared, split))
        cider_N += _similarity(corpus, entries, shared, split) / LONGEST
        repeated_N = _repeated(corpus, entries, split)  # the longest stay
        different.append(_different(entries, split))
    lengths_N = corpus.length_T[: corpus.items]
    guesses = [np.maximum(0, lengths_N - n) for n in range(LONGEST)]
    bleu_NK = np.stack([*columns, *guesses, lengths_N, _closest(corpus)], axis=1).astype(np.float64)
    return Overlap(bleu_NK, 10.0 * cider_N, repeated_N, (different[0], different[1]))


def bleu(sums: Floats) -> Floats:
    """(..., 4): BLEU-1 to BLEU-4 of sums (..., 10) of items' columns."""
    correct, guesses = sums[..., :LONGEST], sums[..., LONGEST : 2 * LONGEST]
    words, reference = sums[..., -2:-1], sums[..., -1:]
    precision = np.cumprod((correct + TINY) / (guesses + SMALL), axis=-1) ** (1.0 / np.arange(1, LONGEST + 1))
    ratio = (words + TINY) / (reference + SMALL)
    with np.errstate(over="ignore"):
        return precision * np.where(ratio < 1.0, np.exp(1.0 - 1.0 / ratio), 1.0)


class _Shared:
    """Where an n-gram of a reference stands among the entries of its item's caption."""

    def __init__(self, corpus: Corpus, entries: Entries, split: int) -> None:
        caption_E = entries.keys(entries.text_E[:split], slice(split))
        wanted_R = entries.keys(corpus.item_T[entries.text_E[split:]], slice(split, None))
        at_R = np.searchsorted(caption_E, wanted_R)
        at_R[at_R == split] = 0
        self.reference = np.flatnonzero(caption_E[at_R] == wanted_R) if split else np.zeros(0, dtype=np.int64)
        """Entries of references, from `split` on, that the caption has too."""
        self.caption = at_R[self.reference]
        """The caption's entry of each."""


def _matches(corpus: Corpus, entries: Entries, shared: _Shared, split: int) -> Floats:
    """N-grams of each caption that a reference has, each at most as often as the reference that has it most."""
    most_E = np.zeros(split, dtype=np.int64)
    np.maximum.at(most_E, shared.caption, entries.count_E[split:][shared.reference])
    matches_E = np.minimum(most_E, entries.count_E[:split]).astype(np.float64)
    return np.bincount(entries.text_E[:split], matches_E, minlength=corpus.items).astype(np.float64)


def _similarity(corpus: Corpus, entries: Entries, shared: _Shared, split: int) -> Floats:
    """(N,) the mean over an item's references of their likeness to the caption, by n-grams of one length."""
    keys_R = entries.keys(corpus.item_T[entries.text_E[split:]], slice(split, None))
    keys_R.sort()  # `np.unique` would fill a hash table with them: slower, and several times the memory
    documents = keys_R[np.diff(keys_R, prepend=-1) != 0] % entries.grams
    frequency = np.bincount(documents, minlength=entries.grams)
    del keys_R, documents
    rarity = np.log(float(corpus.items)) - np.log(np.maximum(1.0, frequency))
    weight = entries.count_E * rarity[entries.gram_E]
    texts = len(corpus.length_T)
    norm_T = np.sqrt(np.bincount(entries.text_E, weight**2, minlength=texts))
    caption, reference = weight[:split][shared.caption], weight[split:][shared.reference]
    text_R = entries.text_E[split:][shared.reference]
    product_T = np.bincount(text_R, np.minimum(caption, reference) * reference, minlength=texts)
    norms_T = norm_T[corpus.item_T] * norm_T
    likeness_T = np.divide(product_T, norms_T, out=np.zeros(texts), where=norms_T > 0)
    # Lengths as the published code has them: the number of pairs of words, which an empty text has as few of as a word.
    pairs_T = np.maximum(0, corpus.length_T - 1)
    likeness_T *= np.exp(-((pairs_T[corpus.item_T] - pairs_T) ** 2) / (2 * SIGMA**2))
    sums_N = np.bincount(corpus.item_T[corpus.items :], likeness_T[corpus.items :], minlength=corpus.items)
    return sums_N / corpus.references_N


def _closest(corpus: Corpus) -> Ints:
    """(N,) words of the reference whose length is closest to the caption's; of two, the shorter."""
    item_R, length_R = corpus.item_T[corpus.items :], corpus.length_T[corpus.items :]
    distance_R = np.abs(length_R - corpus.length_T[: corpus.items][item_R])
    order = np.lexsort((length_R, distance_R, item_R))
    first_N = np.concatenate([[0], corpus.references_N.cumsum()[:-1]])
    return length_R[order][first_N]


def _repeated(corpus: Corpus, entries: Entries, split: int) -> Floats:
    all_N = np.bincount(entries.text_E[:split], entries.count_E[:split], minlength=corpus.items)
    different_N = np.bincount(entries.text_E[:split], minlength=corpus.items)
    return np.divide(all_N - different_N, all_N, out=np.zeros(corpus.items), where=all_N > 0)


def _different(entries: Entries, split: int) -> float:
    every = int(entries.count_E[:split].sum())
    is_there = np.zeros(entries.grams, dtype=np.bool_)
    is_there[entries.gram_E[:split]] = True
    return int(is_there.sum()) / every if every else 0.0
