"""Encoding by words that are remembered, for tokenizers in which words do not touch.

Of Llama's kind (Vicuna's, Mistral's): no pre-tokenizer, so that a whole answer is merged as one word of a thousand
letters, and nothing is remembered. But where no piece of the vocabulary holds a `▁` behind another letter, no merge
can cross the border in front of a `▁`. Of the byte-level kind (GPT-2's, Llama 3's, Qwen's): none of the patterns that
cut a text lets a piece go on from a letter over a space. Either way the ids of a text are those of its words, and
remembering these gives the same ids in a quarter of the time.
"""

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from tokenizers import Tokenizer

from aurora_cli.data.tokenization.boundaries import SpecialWords
from aurora_cli.data.tokenization.rows import packed
from aurora_cli.io.json_files import JsonObject

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA_NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}
BYTE_LEVEL_PATTERNS = tuple(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    + numbers
    + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    for numbers in (r"\p{N}{1,3}", r"\p{N}")
)
"""Llama 3's and Qwen 2's; GPT-2's is built into the backend."""

CUT = "\ue000"
LLAMA_WORD = re.compile("▁+[^▁]*|[^▁]+")
LONE_SPACE = re.compile(r"(?<=\S) (?=\S)")

MAX_WORDS = 200_000
MAX_CHARACTERS = 4_000_000
"""Beyond either, all words are forgotten: about 50 MB."""


class Words(NamedTuple):
    """How texts are cut into words, and what encodes these."""

    backend: Tokenizer
    words_in: Callable[[str], list[str]]
    """The words of a text, as they are remembered."""
    written: Callable[[str], str]
    """A word that is remembered, as it is encoded."""


class WordCache:
    """Gives the ids that `backend.encode_batch_fast(texts, add_special_tokens=False)` gives, as bytes of int32."""

    def __init__(self, backend: Tokenizer, words: Words, added: list[str]) -> None:
        self.backend = backend
        self.of_words, self.words_in, self.written = words
        self.added = SpecialWords(added)
        self.ids: dict[str, bytes] = {}
        self.characters = 0

    def encode(self, texts: list[str]) -> list[bytes]:
        """The ids of each text: joined from those of its words, or, where it holds an added token, from the backend.

        Words that are not known yet are encoded once, all in one call.
        """
        encoded: list[bytes] = [b""] * len(texts)
        whole: list[int] = []
        waiting: list[tuple[int, list[str]]] = []
        ids_of = self.ids.__getitem__
        for index, text in enumerate(texts):
            if self.added.search(text):
                whole.append(index)
                continue
            words = self.words_in(text)
            try:
                encoded[index] = b"".join(map(ids_of, words))
            except KeyError:
                waiting.append((index, words))
        self.learn(set().union(*(words for _, words in waiting)))
        for index, words in waiting:
            encoded[index] = b"".join(map(ids_of, words))
        encodings = self.backend.encode_batch_fast([texts[index] for index in whole], add_special_tokens=False)
        for index, encoding in zip(whole, encodings, strict=True):
            encoded[index] = packed(encoding.ids)
        return encoded

    def learn(self, words: set[str]) -> None:
        """Make sure that the ids of all these words are known."""
        if len(self.ids) > MAX_WORDS or self.characters > MAX_CHARACTERS:
            self.ids.clear()
            self.characters = 0
        new = [*(words - self.ids.keys())]
        written = [self.written(word) for word in new]
        for word, encoding in zip(new, self.of_words.encode_batch_fast(written, add_special_tokens=False), strict=True):
            self.ids[word] = packed(encoding.ids)
            self.characters += len(word)


def word_cache(backend: Tokenizer) -> WordCache | None:
    """A cache for this backend, if words do not touch in it."""
    form = json.loads(backend.to_str())
    added = [token["content"] for token in form["added_tokens"]]
    if is_llamas(form):
        bare = {**form, "added_tokens": [], "normalizer": None, "post_processor": None, "decoder": None}
        return WordCache(backend, Words(Tokenizer.from_str(json.dumps(bare)), llama_words, marked), added)
    return WordCache(backend, Words(backend, byte_level_words, str), added) if is_byte_level(form) else None


def llama_words(text: str) -> list[str]:
    """A text as its words. One `▁` in front of each is left out where all have just that, as in nearly all texts: most
    of the time goes into cutting and looking up, and both are faster for words of one byte a letter.

    >>> llama_words("A cat"), llama_words("A  cat")
    (['A', 'cat'], ['▁A', '▁▁cat'])
    """
    if not text:
        return []
    if "  " in text or text[0] == " " or "▁" in text:
        return LLAMA_WORD.findall("▁" + text.replace(" ", "▁"))
    return text.split(" ")


def marked(word: str) -> str:
    """A word of `llama_words` with its `▁`."""
    return word if word.startswith("▁") else "▁" + word


def byte_level_words(text: str) -> list[str]:
    """A text as its words, each with the space in front of it; words that more than a space parts stay together.

    >>> byte_level_words("A cat"), byte_level_words("Is it?  No.")
    (['A', ' cat'], ['Is', ' it?  No.'])
    """
    if text.isprintable() and "  " not in text:  # neither a line break or tab, nor CUT
        return text.replace(" ", CUT + " ").split(CUT)
    first, *others = LONE_SPACE.split(text)
    return [first, *(" " + word for word in others)]


def is_plain_bpe(model: JsonObject) -> bool:
    """Whether merges are all that makes pieces of letters."""
    return model.get("type") == "BPE" and not any(
        model.get(name) for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    )


def is_llamas(form: JsonObject) -> bool:
    """Whether this is Llama's kind of backend, and no merge of its vocabulary crosses from a letter to a `▁`."""
    model = form["model"]
    vocabulary = model.get("vocab") or {}
    return (
        is_plain_bpe(model)
        and form["normalizer"] == LLAMA_NORMALIZER
        and form["pre_tokenizer"] is None
        and not model.get("ignore_merges")
        and bool(model.get("byte_fallback"))
        and all(byte in vocabulary for byte in BYTES)
        and not any(token["normalized"] or token["lstrip"] or token["rstrip"] for token in form["added_tokens"])
        and not any("▁" in piece.lstrip("▁") for piece in vocabulary)
    )


def is_byte_level(form: JsonObject) -> bool:
    """Whether this is a byte-level backend whose pattern is known to keep words apart."""
    normalizer = form["normalizer"]
    if not is_plain_bpe(form["model"]) or (normalizer is not None and normalizer != {"type": "NFC"}):
        return False
    if normalizer is not None and any(token["normalized"] for token in form["added_tokens"]):
        return False
    match form["pre_tokenizer"]:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return True
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            return pattern in BYTE_LEVEL_PATTERNS
        case _:
            return False
