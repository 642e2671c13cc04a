#!/usr/bin/env bash
# transformers 5.24.0, gguf 0.19.0, tokenizers 0.23.3, CPython 3.11 (2026-11-28).
#
# A tokenizer that transformers makes of a GGUF file cuts texts as GPT-2's does where the file says otherwise by a name that
# is not on transformers' list, without a word. `tokenizer.ggml.pre` is "smollm" in files of SmolLM2, and "starcoder",
# "refact", "command-r", ... are alike: llama.cpp, and the tokenizer.json that SmolLM2 is published with, take digits one by
# one before anything else. Where two or more spaces (or a line's end and a space) stand before a digit the ids are others:
# GPT-2's rule leaves one space to the digit, and the pair of spaces is no token then.
#
# Seen: "a  7"  of the file ['a', 'Ġ', 'Ġ', '7'] · digits one by one ['a', 'ĠĠ', '7']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check \
  torch==2.13.0 transformers==5.24.0 gguf==0.19.0 tokenizers==0.23.3 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" - <<'END'
import gguf
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
tokens = [*alphabet, "ĠĠ", "<|end|>"]
writer = gguf.GGUFWriter("model.gguf", "llama")
writer.add_name("a small one")
writer.add_context_length(64)
writer.add_embedding_length(8)
writer.add_block_count(1)
writer.add_feed_forward_length(8)
writer.add_head_count(1)
writer.add_head_count_kv(1)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_vocab_size(len(tokens))
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("smollm")
writer.add_token_list(tokens)
writer.add_token_types([1] * (len(tokens) - 1) + [3])
writer.add_token_merges(["Ġ Ġ"])
writer.add_eos_token_id(len(tokens) - 1)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

backend = AutoTokenizer.from_pretrained(".", gguf_file="model.gguf").backend_tokenizer
found = backend.encode("a  7", add_special_tokens=False).tokens
backend.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
right = backend.encode("a  7", add_special_tokens=False).tokens
print(f"of the file {found}   digits one by one {right}")
assert (found, right) == (["a", "Ġ", "Ġ", "7"], ["a", "ĠĠ", "7"]), "changed"
END
