#!/usr/bin/env bash
# tokenizers 0.23.3, sentencepiece 0.2.3, CPython 3.11 (2026-11-28).
#
# The Metaspace pre-tokenizer puts its mark in front of a text only where the text does not begin with one, that is with a
# space. So "cat" and " cat" have the same ids, under prepend_scheme "first" and "always" alike, and decoding gives "cat"
# for both. The normalizers Prepend and Replace, which fast Llama tokenizers had before, and sentencepiece itself put the
# mark there anyway: " cat" has two. Ids of texts that begin with a space therefore hang on which of the two forms a folder
# was saved in, though both stand for one sentencepiece model.
#
# Seen: Metaspace  cat ['▁cat'], ' cat' ['▁cat'] · Prepend and sentencepiece  cat ['▁cat'], ' cat' ['▁', '▁cat']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check tokenizers==0.23.3 sentencepiece==0.2.3
cd "$folder"
"$folder/env/bin/python" - <<'END'
import sentencepiece
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

PIECES = ["<unk>", "\u2581", "c", "a", "t", "at", "cat", "\u2581cat"]
MERGES = [("a", "t"), ("c", "at"), ("\u2581", "cat")]


def tokens(text, *, normalizer=None, pre_tokenizer=None):
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(PIECES)}, MERGES, unk_token="<unk>"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer.encode(text).tokens


with open("texts", "w") as file:
    file.write("cat\na cat\nthe cat sat\n" * 20)
sentencepiece.SentencePieceTrainer.train(
    input="texts", model_prefix="model", vocab_size=16, model_type="bpe", remove_extra_whitespaces=False, minloglevel=2
)
model = sentencepiece.SentencePieceProcessor("model.model")

replaced = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
found = {
    "Metaspace first": [tokens(text, pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first")) for text in ("cat", " cat")],
    "Metaspace always": [tokens(text, pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="always")) for text in ("cat", " cat")],
    "Prepend": [tokens(text, normalizer=replaced) for text in ("cat", " cat")],
    "sentencepiece": [model.encode(text, out_type=str) for text in ("cat", " cat")],
}
for name, (plain, spaced) in found.items():
    print(f"{name:17} 'cat' {plain}   ' cat' {spaced}")
same = {name: plain == spaced for name, (plain, spaced) in found.items()}
assert same == {"Metaspace first": True, "Metaspace always": True, "Prepend": False, "sentencepiece": False}, "changed"
END
