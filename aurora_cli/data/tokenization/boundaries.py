"""Where texts begin, end and meet: the rules that training, captions and exports must share, in one place.

Training encodes the words around images, and each answer, alone. An export's chat template writes one text, which its
tokenizer cuts at special tokens. Both give the same ids if what stands at the cuts is the same:

- A tokenizer of sentencepiece's kind marks the beginning of a text (`▁`). Some mark only that of the whole text (the
  scheme `first`: every Llama tokenizer that transformers 5 saved), so that a text behind an image would have no mark in
  an export. With our templates every text is marked, as Vicuna was trained; a tokenizer's own template is encoded as
  transformers does, images being tokens of the text.
- A special token may swallow the space beside it. With our templates it stands alone, so none may in an export.
- Nothing special stands between a question and its answer. What an export's template writes there (nothing, a space,
  or a character that its tokenizer cuts at and drops) is found by trying it on the vocabulary.
- Words that are a special token would become that token. A record or a prompt that holds one is refused.
"""

import json
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer

from aurora_cli.constants import IMAGE, VIDEO
from aurora_cli.data.annotations.records import Record, Rejection
from aurora_cli.io.json_files import JsonObject

CUT = "\ue002"
"""Cuts a text where an export's tokenizer would else join an answer to its question; has no id of its own."""

CANDIDATES = ("", " ", CUT, CUT + " ")
BEGINNINGS = ("A cat.", "The", "no", "2", "(x)", "'a'", '"A"', "é", "一")
SPACES = (" A", "  A", " ")
BREAKS = ("\nA", "\n\nA", "\n", "\tA")
MARKED = ("▁a", "▁A", "▁")
"""Beginnings of answers that are tried beside those in the vocabulary."""

LONGEST_END = 3
"""Characters of a question's end that a token may share with its answer, at most, as far as they are looked for."""


def with_our_templates(backend: Tokenizer) -> Tokenizer:
    """The tokenizer as our templates use it: every text is marked, if any is, and no special token swallows space."""
    form = json.loads(backend.to_str())
    marked = _mark_always(form.get("pre_tokenizer"))
    swallowing = [token for token in form["added_tokens"] if token["special"] and (token["lstrip"] or token["rstrip"])]
    for token in swallowing:
        token |= {"lstrip": False, "rstrip": False}
    return Tokenizer.from_str(json.dumps(form)) if marked or swallowing else backend


def _mark_always(step: Any) -> bool:
    """Change the scheme in a (sequence of) pre-tokenizer; whether there was anything to change."""
    if not isinstance(step, dict):
        return False
    if step.get("type") == "Sequence":
        changed = [_mark_always(inner) for inner in step.get("pretokenizers", [])]
        return any(changed)
    if step.get("type") != "Metaspace" or step.get("prepend_scheme") != "first":
        return False
    step["prepend_scheme"] = "always"
    return True


def with_image_token(backend: Tokenizer) -> Tokenizer:
    """One like it in which `<image>` is a token, as in an export."""
    copy = Tokenizer.from_str(backend.to_str())
    add_image_token(copy)
    return copy


def add_image_token(backend: Tokenizer) -> None:
    """Make `<image>` a token of this tokenizer, if it is not one yet."""
    backend.add_special_tokens([AddedToken(IMAGE, special=True, normalized=False)])


class SpecialWords:
    """Finds words that are no words to a tokenizer, in texts that hardly ever have one."""

    def __init__(self, words: Collection[str]) -> None:
        self._pattern = re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))) or "(?!)")
        self._beginnings = sorted({word[0] for word in words})
        """Letters; to look for these takes a tenth of the time."""

    def search(self, text: str) -> re.Match[str] | None:
        """The first of them in a text."""
        for letter in self._beginnings:
            if letter in text:
                return self._pattern.search(text)
        return None


def special_words(backend: Tokenizer, written: str = "") -> SpecialWords:
    """The special tokens of a tokenizer, and any token that was added to it and that `written` (the words of a
    template) holds.
    """
    added = backend.get_added_tokens_decoder().values()
    words = {token.content for token in added if token.special or token.content in written or token.content == IMAGE}
    return SpecialWords(words)


def refuse_special_words(record: Record, special: SpecialWords) -> None:
    """
    Raises:
        Rejection: a text of the record holds one; in a question, `<image>` and `<video>` are places of media.
    """
    for index, message in enumerate(record.messages):
        text = message.text
        if special.search(text) is None:
            continue
        if message.role == "human":
            text = text.replace(IMAGE, "")
            text = text.replace(VIDEO, "") if record.video is not None or record.is_frame_list else text
        if found := special.search(text):
            raise Rejection("special_token", f"{found[0]} in turn {index} ({message.role})")


class Joints(NamedTuple):
    """What stands between a text and an answer, so that the ids of the whole are those of the two alone."""

    word: str
    space: str
    """In front of an answer that begins with a space."""
    line: str
    """In front of one that begins with another kind of white space."""
    mark: str
    """In front of one that begins with `▁`, which to some tokenizers is a space."""

    @property
    def cut(self) -> bool:
        """Whether the tokenizer has to cut at `CUT`."""
        return any(CUT in joint for joint in self)


NO_JOINTS = Joints("", "", "", "")


def joints(backend: Tokenizer, before: str) -> Joints:
    """What to write between `before` and an answer, by how the answer begins.

    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> ids = {"▁a": 0, "▁A": 1, "A": 2, ":": 3, "▁": 4, "<unk>": 5}
    >>> marking = Tokenizer(models.WordLevel(ids, "<unk>"))
    >>> marking.pre_tokenizer = pre_tokenizers.Metaspace()
    >>> joints(marking, "a").word
    ' '
    """
    return Joints(*(_joint(backend, before, answers) for answers in kinds_of_answers(backend, before)))


def kinds_of_answers(backend: Tokenizer, before: str) -> tuple[list[str], list[str], list[str], list[str]]:
    """Answers to try behind `before`, for each joint."""
    found = beginnings(backend, before)
    words = [*BEGINNINGS, *(text for text in found if not text[0].isspace())]
    spaces = [*SPACES, *(text for text in found if text[0] == " ")]
    lines = [*BREAKS, *(text for text in found if text[0].isspace() and text[0] != " ")]
    return words, spaces, lines, [*MARKED]


def joint_of(backend: Tokenizer, before: str, following: str) -> str:
    """What to write between two texts that are known."""
    return _joint(backend, before, [following])


def _joint(backend: Tokenizer, before: str, answers: list[str]) -> str:
    alone = [encoding.ids for encoding in backend.encode_batch(answers, add_special_tokens=False)]
    begin = backend.encode(before, add_special_tokens=False).ids
    for between in CANDIDATES:
        whole = (cut_backend(backend) if CUT in between else backend).encode_batch(
            [before + between + answer for answer in answers], add_special_tokens=False
        )
        if all(encoding.ids == begin + ids for encoding, ids in zip(whole, alone, strict=True)):
            return between
    return ""


def beginnings(backend: Tokenizer, before: str) -> list[str]:
    """How answers begin that could share a token with the end of `before`: a token begins with it and goes on so."""
    last = backend.encode(before, add_special_tokens=False).tokens
    end = "".join(last)[-LONGEST_END:]
    found = set()
    for length in range(1, len(end) + 1):
        tail = end[-length:]
        rests = (token[length:] for token in backend.get_vocab() if token.startswith(tail) and len(token) > length)
        found |= {_as_text(backend, rest) for rest in rests}
    return sorted(text for text in found if text)


def _as_text(backend: Tokenizer, piece: str) -> str:
    """What a part of a token stands for, in words."""
    decoder = backend.decoder
    return piece.replace("▁", " ") if decoder is None else decoder.decode(["a", piece])[1:]


def how_it_cuts(backend: Tokenizer) -> str:
    """What decides the ids of words beside the vocabulary, as text; alike for a tokenizer and for an export's of it."""
    form = json.loads(with_our_templates(backend).to_str())
    steps = form["pre_tokenizer"]
    parts = steps["pretokenizers"] if steps and steps["type"] == "Sequence" else [steps] if steps else []
    parts = [part for part in parts if part.get("pattern") != {"String": CUT}]
    return json.dumps([form["normalizer"], parts, form["model"].get("merges")])


def cut_backend(backend: Tokenizer) -> Tokenizer:
    """One like it that cuts texts at `CUT`, and drops that."""
    form: JsonObject = json.loads(backend.to_str())
    split = {"type": "Split", "pattern": {"String": CUT}, "behavior": "Removed", "invert": False}
    steps = form["pre_tokenizer"]
    others = steps["pretokenizers"] if steps and steps["type"] == "Sequence" else [steps] if steps else []
    form["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, *others]}
    return Tokenizer.from_str(json.dumps(form))
