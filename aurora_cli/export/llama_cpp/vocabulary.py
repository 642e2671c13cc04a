"""The tokenizer as llama.cpp has them: its tokens and how it joins them, in the keys `tokenizer.ggml.*`.

Source: llama.cpp, `src/llama-vocab.cpp`. Two kinds are written: `gpt2` (bytes, merges in an order, texts cut by one of
the expressions that llama.cpp has a name for) and `llama` (sentencepiece's BPE: pairs joined by the score of what they
make). What is neither is refused: other ids would come out, silently.
"""

import json
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from aurora_cli.constants import IMAGE
from aurora_cli.errors import UsageError
from aurora_cli.export.llama_cpp.files import Metadata
from aurora_cli.export.tokenizer import PAD

Form = Mapping[str, Any]
"""A part of `tokenizer.json`."""

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_OTHERS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CUTS = {
    f"{_CONTRACTIONS}|{_WORDS}|\\p{{N}}{{1,3}}|{_OTHERS}": "llama-bpe",
    f"{_CONTRACTIONS}|{_WORDS}|\\p{{N}}|{_OTHERS}": "qwen2",
}
"""Expressions that cut texts, by llama.cpp's names for them."""
_GPT2, _DIGITS = "gpt-2", "smollm"
_TAKES_WHOLE_WORDS = ("llama-bpe",)
"""Of these llama.cpp looks a whole word up before it joins pairs (`ignore_merges`)."""

_HINT = "--format huggingface takes any tokenizer."


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Token(NamedTuple):
    """A row of the vocabulary."""

    text: str
    kind: TokenType


def written_rows(backend: Tokenizer, rows: int) -> int:
    """Rows of the embedding that a file has: those of the tokenizer's ids, without what an export adds behind them.

    Rows that no token has are untrained; llama.cpp, which cannot be kept from writing them, does not get them.
    """
    ids = backend.get_vocab(with_added_tokens=True)
    used = max(ids.values()) + 1
    for added in (PAD, IMAGE):  # the export's order is the image, then the padding
        if ids.get(added) == used - 1:
            used -= 1
    return min(rows, used)


def vocabulary_of(backend: Tokenizer, rows: int) -> Metadata:
    """The keys for the first `rows` ids.

    Raises:
        UsageError: llama.cpp cannot cut or join texts as it does.
    """
    form: Form = json.loads(backend.to_str())
    model: Form = form["model"]
    _check_model(model)
    tokens = _tokens(form, rows)
    keys: Metadata = {
        "tokenizer.ggml.tokens": [token.text for token in tokens],
        "tokenizer.ggml.token_type": [int(token.kind) for token in tokens],
        "tokenizer.ggml.add_bos_token": False,
    }
    if model.get("byte_fallback"):
        return {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.pre": "default",
            **keys,
            **_sentencepiece(form, tokens),
        }
    pre = _pre(form)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        **keys,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in _merges(model)],
    }


def _refused(why: str) -> UsageError:
    return UsageError(f"the tokenizer cannot be written as GGUF: {why}", hint=_HINT)


def _check_model(model: Form) -> None:
    if model["type"] != "BPE":
        raise _refused(f"it is a {model['type']}, and BPE is written")
    odd = [key for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix") if model.get(key)]
    if odd:
        raise _refused(f"llama.cpp's BPE has no {odd[0]}")


def _merges(model: Form) -> list[tuple[str, str]]:
    pairs = [each.split(" ") if isinstance(each, str) else each for each in model["merges"]]
    return [(first, second) for first, second in pairs]


def _tokens(form: Form, rows: int) -> list[Token]:
    model = form["model"]
    tokens = {int(index): Token(text, TokenType.NORMAL) for text, index in model["vocab"].items()}
    if model.get("byte_fallback"):
        for index, token in tokens.items():
            if len(token.text) == 6 and token.text.startswith("<0x") and token.text.endswith(">"):
                tokens[index] = token._replace(kind=TokenType.BYTE)
    for added in form["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        if model.get("byte_fallback") and added["content"] == model.get("unk_token"):
            kind = TokenType.UNKNOWN
        tokens[added["id"]] = Token(added["content"], kind)
    return [tokens.get(index, Token(f"[UNUSED{index}]", TokenType.UNUSED)) for index in range(rows)]


def _pre(form: Form) -> str:
    """llama.cpp's name for how texts are cut.

    Raises:
        UsageError: it has none.
    """
    if (form["normalizer"] or {}).get("type") not in (None, "NFC"):
        raise _refused(f"it rewrites texts before it cuts them ({form['normalizer']['type']})")
    pre = _named(_steps(form["pre_tokenizer"]))
    if pre is None:
        raise _refused("llama.cpp has no name for how it cuts texts (its pre_tokenizer)")
    if bool(form["model"].get("ignore_merges")) != (pre in _TAKES_WHOLE_WORDS):
        raise _refused(
            f"ignore_merges is {bool(form['model'].get('ignore_merges'))}, and otherwise in llama.cpp's {pre}"
        )
    return pre


def _steps(step: Form | None) -> list[Form]:
    if step is None:
        return []
    return [inner for each in step["pretokenizers"] for inner in _steps(each)] if step["type"] == "Sequence" else [step]


def _named(steps: Sequence[Form]) -> str | None:
    if not steps or steps[-1]["type"] != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    by_gpt2 = steps[-1].get("use_regex", True)
    before = steps[:-1]
    if not before:
        return _GPT2 if by_gpt2 else None
    if len(before) > 1:
        return None
    if before[0]["type"] == "Digits":
        return _DIGITS if by_gpt2 and before[0]["individual_digits"] else None
    pattern = before[0].get("pattern", {}).get("Regex")
    isolates = before[0]["type"] == "Split" and before[0]["behavior"] == "Isolated" and not before[0]["invert"]
    return CUTS.get(pattern) if isolates and not by_gpt2 else None


def _sentencepiece(form: Form, tokens: Sequence[Token]) -> Metadata:
    """Of sentencepiece's kind: scores, and what a text begins with."""
    steps = form["normalizer"]
    parts = steps["normalizers"] if steps and steps["type"] == "Sequence" else [steps] if steps else []
    prepends = [part for part in parts if part["type"] == "Prepend" and part["prepend"] == "▁"]
    replaces = [part for part in parts if part["type"] == "Replace" and part["content"] == "▁"]
    if form["pre_tokenizer"] is not None or len(replaces) != 1 or len(prepends) + 1 != len(parts):
        raise _refused("what it puts in front of texts is not what llama.cpp's `llama` does (Prepend and Replace of ▁)")
    return {
        "tokenizer.ggml.scores": scores(_merges(form["model"]), [token.text for token in tokens]),
        "tokenizer.ggml.add_space_prefix": bool(prepends),
    }


def scores(merges: Sequence[tuple[str, str]], texts: Sequence[str]) -> list[float]:
    """A score for each token, by which joining the best pair first is joining pairs in the order of the merges.

    >>> scores([("a", "b"), ("c", "ab")], ["a", "b", "c", "ab", "cab"])
    [0.0, 0.0, 0.0, -1.0, -2.0]

    Raises:
        UsageError: there are none, or llama.cpp would join pairs that are no merges.
    """
    order: dict[str, int] = {}
    last = ""
    for first, second in merges:
        made = first + second
        if made != last and made in order:
            raise _refused(f"ways to make {made!r} have others between them: no scores say that")
        order.setdefault(made, len(order) + 1)
        last = made
    known, joined = set(texts), set(merges)
    for text in texts:
        for cut in range(1, len(text)):
            pair = (text[:cut], text[cut:])
            if pair[0] in known and pair[1] in known and pair not in joined:
                raise _refused(f"llama.cpp would join {pair[0]!r} and {pair[1]!r}, which is no merge")
    return [-float(order[text]) if text in order else 0.0 for text in texts]
