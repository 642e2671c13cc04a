"""Captions and their references as numbers, and the n-grams of all of them at once.

N items, each a caption with one reference or more; T texts: the N captions, then all references; W words of all texts.
Words and n-grams are numbered exactly (no hashes), so that the memory is a few integers a word; numbers that are kept
are of 32 bits, and their products, which are sorted and let go, of 64.
"""

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32] | NDArray[np.int64]
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

    def keys(self, owner_E: Ints, entries: slice) -> NDArray[np.int64]:
        """One number for each owner of these entries and n-gram."""
        return owner_E.astype(np.int64) * self.grams + self.gram_E[entries]


class Corpus:
    """Tokenized captions and references."""

    def __init__(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Words are what spaces part. Every caption has a reference at least."""
        numbers: dict[str, int] = {}
        words, lengths = array("i"), array("i")
        for text in chain(captions, chain.from_iterable(references)):
            before = len(words)
            words.extend([numbers.setdefault(word, len(numbers)) for word in text.split()])
            lengths.append(len(words) - before)
        self.items = len(captions)
        self.references_N = np.array([len(several) for several in references], dtype=np.int64)
        items_N = np.arange(self.items, dtype=np.int32)
        self.item_T = np.concatenate([items_N, items_N.repeat(self.references_N)])
        self.length_T = np.array(lengths, dtype=np.int64)
        self.words_W = np.array(words, dtype=np.int32)
        self.end_T = self.length_T.cumsum()
        self._vocabulary = max(1, len(numbers))

    def words_of(self, text: int) -> list[int]:
        """The numbers of a text's words."""
        end = int(self.end_T[text])
        return self.words_W[end - int(self.length_T[text]) : end].tolist()

    def entries(self) -> Iterator[Entries]:
        """The single words, then the n-grams of two, three and four words."""
        text_W = np.arange(len(self.length_T), dtype=np.int32).repeat(self.length_T)
        gram_W, grams = self.words_W, self._vocabulary
        for length in range(1, LONGEST + 1):
            starts = max(0, len(text_W) - length + 1)
            is_one_W = text_W[:starts] == text_W[length - 1 :]  # the last word is of the text of the first
            gram_G = gram_W[:starts][is_one_W]
            if length > 1:  # an n-gram is the one before it, and one more word
                last_G = self.words_W[length - 1 :][is_one_W]
                gram_G, grams = _numbered(gram_G.astype(np.int64) * self._vocabulary + last_G)
                gram_W = np.zeros(starts, dtype=np.int32)
                gram_W[is_one_W] = gram_G
            yield _counted(text_W[:starts][is_one_W], gram_G, grams)


def _numbered(keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """Numbers from 0 for the different keys, and how many there are; half the memory of `np.unique`'s inverse."""
    order = np.argsort(keys)
    is_new = np.diff(keys[order], prepend=-1) != 0
    numbers = np.empty(len(keys), dtype=np.int32)
    numbers[order] = np.cumsum(is_new, dtype=np.int32) - 1
    return numbers, max(1, int(is_new.sum()))


def _counted(text_G: Ints, gram_G: Ints, grams: int) -> Entries:
    keys, counts = np.unique(text_G.astype(np.int64) * grams + gram_G, return_counts=True)
    return Entries((keys // grams).astype(np.int32), (keys % grams).astype(np.int32), counts.astype(np.int32), grams)
