"""Captions to words, as publications do it: Penn Treebank tokens in lower case, without marks.

`ptb` is the Stanford tokenizer that `pycocoevalcap` brings, which takes Java. `python` is written here after the
Treebank's rules, for where there is no Java. They differ now and then (`docs/evaluating.md` says how often), so every
result names the one that it used.
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from aurora_cli.errors import HostError
from aurora_cli.evaluation.java import JAVA, find_jar

TokenizerName = Literal["ptb", "python"]

MARKS = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""Tokens that are no words. The names of brackets are in capitals here and small in the text, so brackets stay words:
published numbers are made like that."""

_JAR = Path("tokenizer", "stanford-corenlp-3.4.1.jar")
_LINE_ENDS = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
"""Java ends a line at more of them than Python writes: a caption that holds one would shift all that follow it."""


def find_ptb() -> Path | None:
    """The Stanford tokenizer, where it and Java are."""
    return find_jar(_JAR)


def tokenize(texts: Sequence[str], name: TokenizerName) -> list[str]:
    """Each text's words with a space between them.

    Raises:
        HostError: `ptb` is wanted, and it or Java is missing, or fails.
    """
    return _ptb(texts) if name == "ptb" else [python_tokens(text) for text in texts]


def _ptb(texts: Sequence[str]) -> list[str]:
    jar = find_ptb()
    if jar is None:
        raise HostError(
            "the Stanford tokenizer takes pycocoevalcap and Java; one of them is not there",
            hint="pip install 'aurora-cli[evaluate]', and a Java (Debian: default-jre-headless)",
        )
    command = [*JAVA, "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    # A line each and nothing else: whether `b.` at its end is an abbreviation hangs on how the next line begins.
    lines = "\n".join(_LINE_ENDS.sub(" ", text) for text in texts)
    done = subprocess.run(command, input=lines.encode("utf-8", "replace"), capture_output=True, check=False)
    found = done.stdout.decode("utf-8", "replace").split("\n")[: len(texts)]
    found += [""] * (len(texts) - len(found) if not any(text.strip() for text in texts[len(found) :]) else 0)
    if done.returncode != 0 or len(found) != len(texts):
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise HostError(f"the Stanford tokenizer gave {len(found):,} lines for {len(texts):,} captions: {last}")
    return [_words(line.split(" ")) for line in found]


def _words(tokens: Sequence[str]) -> str:
    return " ".join(token for token in tokens if token.strip(".") and token not in MARKS)


_ABBREVIATIONS = (
    "mr|mrs|ms|dr|prof|st|jr|sr|vs|etc|inc|co|corp|ltd|al|no|fig|mt|ft|ave|blvd|rd|gen|col|capt|sgt|lt|rev|hon|gov|sen|rep|"
    "jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun"
)
_TOKEN = re.compile(
    rf"""
    (?:https?://|www\.)[^\s<>"]*[^\s<>".,;:!?)]     # addresses
  | [\w.+-]+@[\w-]+(?:\.[\w-]+)+                     # of mail
  | (?<!\w)(?:[^\W\d_]\.)+(?:[^\W\d_](?!\w))?\.?(?!\w)  # p.m.  u.s.  plan b.
  | (?:{_ABBREVIATIONS})\.(?!\w)                     # mr.  st.
  | \d+(?:[.,:/-]\d+)*(?![\w-])                      # 2.50  10:45  1/2  1960-61
  | n't | '(?:s|m|d|re|ve|ll)\b
  | [^\W_]+(?:[-./_&][^\W_]+|'(?!(?:s|m|d|re|ve|ll)\b)[^\W\d_]+)*(?:\+\+)?
  | \.+ | -{{2,}} | [!?]+ | `` | '' | \S
    """,
    re.VERBOSE,
)
_WRITTEN = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
    "cannot": "can not", "gonna": "gon na", "gotta": "got ta", "wanna": "wan na", "gimme": "gim me", "lemme": "lem me",
    "'tis": "'t is", "'twas": "'t was",
}  # fmt: skip
_QUOTES = frozenset('"\u201c\u201d\u2018\u2014')
_NEGATION = re.compile(r"(?<=\w)n't\b")


def python_tokens(text: str) -> str:
    """
    >>> python_tokens("It's a dog that doesn't bark; 3 of 12 (two) cost $2.50.")
    "it 's a dog that does n't bark 3 of 12 -lrb- two -rrb- cost $ 2.50"
    """
    plain = text.lower().replace("\u2019", "'")
    tokens: list[str] = _TOKEN.findall(_NEGATION.sub(" n't", plain))
    return _words([_WRITTEN.get(token, token) for token in tokens if token not in _QUOTES])


def resolve_tokenizer(name: Literal["auto", "ptb", "python"]) -> TokenizerName:
    """`auto`: the Stanford tokenizer where it is."""
    if name != "auto":
        return name
    return "python" if find_ptb() is None else "ptb"
