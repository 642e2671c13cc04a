#!/usr/bin/env bash
# tokenizers 0.23.3, CPython 3.11 (2026-11-28).
#
# An added token with rstrip takes all white space behind it into itself, newlines too, and one with lstrip that in front of
# it. What was there has no id. A chat template that writes "<|end|>\n" then gives the ids of "<|end|>" alone where the
# tokenizer has rstrip on it, and the newline comes back as soon as the conversation is encoded in pieces and one of them
# begins with it. So the ids of a whole conversation need not be those of its turns in a row, though no token spans two turns.
#
# Seen, ids of "<|end|>" "\n" "a" being 3 0 1:
#     rstrip False: whole [3, 0, 1], in two pieces [3, 0, 1] · rstrip True: whole [3, 1], in two pieces [3, 0, 1]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check tokenizers==0.23.3
"$folder/env/bin/python" - <<'END'
from tokenizers import AddedToken, Tokenizer, models

NEWLINE, A, SPACE, END = 0, 1, 2, 3


def ids(*pieces, rstrip=False, lstrip=False):
    tokenizer = Tokenizer(models.BPE({"\n": NEWLINE, "a": A, " ": SPACE}, []))
    tokenizer.add_special_tokens([AddedToken("<|end|>", rstrip=rstrip, lstrip=lstrip)])
    return [number for piece in pieces for number in tokenizer.encode(piece).ids]


for rstrip in (False, True):
    whole, pieces = ids("<|end|>\na", rstrip=rstrip), ids("<|end|>", "\na", rstrip=rstrip)
    print(f"rstrip {rstrip!s:5} whole {whole}, in two pieces {pieces}")
assert ids("<|end|>\na") == ids("<|end|>", "\na") == [END, NEWLINE, A]
assert ids("<|end|> \n \na", rstrip=True) == [END, A], "changed: rstrip"
assert ids("<|end|>", "\na", rstrip=True) == [END, NEWLINE, A], "changed: pieces"
assert ids("a \n<|end|>", lstrip=True) == [A, END], "changed: lstrip"
END
