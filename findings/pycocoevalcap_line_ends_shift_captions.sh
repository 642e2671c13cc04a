#!/usr/bin/env bash
# pycocoevalcap 1.2 with its Stanford tokenizer 3.4.1, OpenJDK 17, CPython 3.11 (2026-11-28). Takes a Java.
#
# PTBTokenizer.tokenize writes all captions into one file, a line each, after it has replaced the line feeds within them,
# and pairs the lines that come back with the captions by their order. Java's reader ends a line at a carriage return and
# at U+2028 too. A caption that holds one (spreadsheets and web pages write them) comes back as two lines, and from there
# on every medium is scored by the words of the one before it. Nothing is raised: the lines left over are dropped.
#
# Seen: a -> "one", b -> "two" (the rest of a), c -> "a red cat" (the caption of b); a reference set with itself, which
# scores CIDEr 10.00 without the mark, scores 0.41 with it.
set -euo pipefail
command -v java >/dev/null || { echo "needs a Java (Debian: default-jre-headless)"; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check pycocoevalcap==1.2
cd "$folder"
env/bin/python - <<'END' 2>/dev/null
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

SCENES = ["a red cat asleep", "two boats leave the bay", "snow covers the roofs", "a child throws a ball", "rain on a window"]


def words(captions):
    return PTBTokenizer().tokenize({name: [{"caption": text}] for name, text in captions.items()})


found = words({"a": "one\rtwo", "b": "a red cat", "c": "two boats"})
print(found)
assert found == {"a": ["one"], "b": ["two"], "c": ["a red cat"]}
assert words({"a": "one\u2028two", "b": "a red cat"}) == {"a": ["one"], "b": ["two"]}

captions = dict(enumerate(SCENES))
marked = {-1: "one\rtwo", **captions}
plain, _ = Cider().compute_score(words(captions), words(captions))
references = words({-1: "one two", **captions})
shifted, _ = Cider().compute_score(references, words(marked))
print(f"CIDEr of captions that equal their references: {plain:.2f}; with a carriage return in the first: {shifted:.2f}")
assert plain > 9.9
assert shifted < 1.0
END
