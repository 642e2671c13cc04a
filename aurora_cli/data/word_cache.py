"""Encoding by words that are remembered, for tokenizers in which words do not touch: Llama's, Vicuna's, Mistral's.

Their backend has no pre-tokenizer, so that it merges a whole answer as one word of a thousand letters, and remembers
nothing. But where no piece of the vocabulary holds a `▁` behind another letter, no merge can cross the border in front
of a `▁`: the ids of a text are those of its words. Remembering these gives the same ids in a quarter of the time.
"""

import json
import re
from itertools import chain
from typing import Any

from tokenizers import Tokenizer

WORD = re.compile("▁+[^▁]*|[^▁]+")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA_NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}

MAX_WORDS = 200_000
MAX_CHARACTERS = 4_000_000
"""Beyond either, all words are forgotten: about 50 MB."""


class WordCache:
    """Gives the ids that `backend.encode_batch_fast(texts, add_special_tokens=False)` gives."""

    def __init__(self, backend: Tokenizer, words_only: Tokenizer, special: re.Pattern[str] | None) -> None:
        self.backend = backend
        self.words_only = words_only
        self.special = special
        self.ids: dict[str, list[int]] = {}
        self.characters = 0

    def encode(self, texts: list[str]) -> list[list[int]]:
        special = [bool(self.special and self.special.search(text)) for text in texts]
        split = [
            [] if skip or not text else WORD.findall("▁" + text.replace(" ", "▁"))
            for text, skip in zip(texts, special, strict=True)
        ]
        self.learn(split)
        known = self.ids.__getitem__
        encoded = [list(chain.from_iterable(map(known, words))) for words in split]
        whole = self.backend.encode_batch_fast(
            [text for text, skip in zip(texts, special, strict=True) if skip], add_special_tokens=False
        )
        for index, encoding in zip((index for index, skip in enumerate(special) if skip), whole, strict=True):
            encoded[index] = encoding.ids
        return encoded

    def learn(self, split: list[list[str]]) -> None:
        """Make sure that the ids of all these words are known."""
        if len(self.ids) > MAX_WORDS or self.characters > MAX_CHARACTERS:
            self.ids.clear()
            self.characters = 0
        new = list(set().union(*split) - self.ids.keys())
        for word, encoding in zip(new, self.words_only.encode_batch_fast(new, add_special_tokens=False), strict=True):
            self.ids[word] = encoding.ids
            self.characters += len(word)


def word_cache(backend: Tokenizer) -> WordCache | None:
    """A cache for this backend, if words do not touch in it."""
    form = json.loads(backend.to_str())
    if not words_are_apart(form):
        return None
    words_only = Tokenizer.from_str(
        json.dumps({**form, "added_tokens": [], "normalizer": None, "post_processor": None, "decoder": None})
    )
    added = sorted((token["content"] for token in form["added_tokens"]), key=len, reverse=True)
    return WordCache(backend, words_only, re.compile("|".join(map(re.escape, added))) if added else None)


def words_are_apart(form: dict[str, Any]) -> bool:
    """Whether this is Llama's kind of backend, and no merge of its vocabulary crosses from a letter to a `▁`."""
    model = form["model"]
    vocabulary = model.get("vocab") or {}
    return (
        model.get("type") == "BPE"
        and form["normalizer"] == LLAMA_NORMALIZER
        and form["pre_tokenizer"] is None
        and not any(model.get(name) for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
        and not model.get("ignore_merges")
        and bool(model.get("byte_fallback"))
        and all(byte in vocabulary for byte in BYTES)
        and not any(token["normalized"] or token["lstrip"] or token["rstrip"] for token in form["added_tokens"])
        and not any("▁" in piece.lstrip("▁") for piece in vocabulary)
    )
