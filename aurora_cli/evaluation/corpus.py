"""Captions and their references as numbers, and the n-grams of all of them at once.

N items, each a caption with one reference or more; T texts: the N captions, then all references; W words of all texts.
Words and n-grams are numbered exactly (no hashes), so that the memory is a few integers a word.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LONGEST = 4
"""Words of the longest n-gram that BLEU and CIDEr look at."""


class Entries(NamedTuple):
    """The n-grams of each text with their counts, by text and then by n-gram."""

    text_E: Ints
    gram_E: Ints
    count_E: Ints
    grams: int
    """Different n-grams of all texts."""


class Corpus:
    """Tokenized captions and references."""

    def __init__(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Words are what spaces part. Every caption has a reference at least."""
        texts = [*captions, *(text for several in references for text in several)]
        numbers: dict[str, int] = {}
        words = [[numbers.setdefault(word, len(numbers)) for word in text.split()] for text in texts]
        self.items = len(captions)
        self.references_N = np.array([len(several) for several in references], dtype=np.int64)
        self.item_T = np.concatenate([np.arange(self.items), np.arange(self.items).repeat(self.references_N)])
        self.length_T = np.array([len(each) for each in words], dtype=np.int64)
        self.words_W = np.fromiter((word for each in words for word in each), np.int64, int(self.length_T.sum()))
        self.end_T = self.length_T.cumsum()
        self._vocabulary = len(numbers)

    def words_of(self, text: int) -> list[int]:
        """The numbers of a text's words."""
        end = int(self.end_T[text])
        return self.words_W[end - int(self.length_T[text]) : end].tolist()

    def entries(self) -> Iterator[Entries]:
        """The single words, then the n-grams of two, three and four words."""
        text_W = np.arange(len(self.length_T)).repeat(self.length_T)
        left_W = self.end_T[text_W] - np.arange(len(text_W))  # words from here to the end of the text
        gram_W, grams = self.words_W, max(1, self._vocabulary)
        for length in range(1, LONGEST + 1):
            at = np.flatnonzero(left_W >= length)
            if length > 1:  # an n-gram is the one before it, and one more word
                pairs = gram_W[at] * max(1, self._vocabulary) + self.words_W[at + length - 1]
                found, number = np.unique(pairs, return_inverse=True)
                gram_W, grams = np.zeros(len(text_W), dtype=np.int64), max(1, len(found))
                gram_W[at] = number
            keys, count_E = np.unique(text_W[at] * grams + gram_W[at], return_counts=True)
            yield Entries(keys // grams, keys % grams, count_E, grams)
