"""The tokenizer in GGUF's keys, against slow encoders that join as llama.cpp's source says it does."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from aurora_cli.data.tokenization.sentencepiece import build_backend
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.errors import UsageError
from aurora_cli.export.llama_cpp.vocabulary import CUTS, scores, vocabulary_of, written_rows
from aurora_cli.export.tokenizer import export_tokenizer

ROOT = Path(__file__).parents[4]
TINY = ROOT / "presets" / "tiny" / "tokenizer"
SENTENCEPIECE = ROOT / "tests" / "golden" / "tokenize" / "mistral_v1" / "tokenizer.model"


@pytest.fixture(scope="module")
def pieces() -> tuple[Tokenizer, dict[str, Any]]:
    """A tokenizer of SentencePiece's, and what GGUF has of it."""
    backend = build_backend(SENTENCEPIECE.read_bytes(), {})
    return backend, vocabulary_of(backend, backend.get_vocab_size())


def joined_by_score(keys: dict[str, Any], text: str) -> list[int]:
    """As `llm_tokenizer_spm`: the neighbours that make the best-scored token are joined first, the leftmost of equals;
    what is no token at the end is its bytes."""
    ids = {token: index for index, token in enumerate(keys["tokenizer.ggml.tokens"])}
    score = keys["tokenizer.ggml.scores"]
    if keys["tokenizer.ggml.add_space_prefix"]:
        text = " " + text
    symbols = list(text.replace(" ", "▁"))
    while True:
        made = [
            (score[ids[pair]], -at) for at in range(len(symbols) - 1) if (pair := "".join(symbols[at : at + 2])) in ids
        ]
        if not made:
            break
        at = -max(made)[1]
        symbols[at : at + 2] = ["".join(symbols[at : at + 2])]
    found: list[int] = []
    for symbol in symbols:
        found += [ids[symbol]] if symbol in ids else [ids[f"<0x{byte:02X}>"] for byte in symbol.encode()]
    return found


@pytest.mark.slow
@settings(max_examples=60)
@given(st.text(st.sampled_from("abcdehilnorstuw THE.,!?\n12é一▁"), min_size=1, max_size=40))
def test_scores_join_sentencepieces_pairs_as_its_merges_do(pieces: tuple[Tokenizer, dict[str, Any]], text: str) -> None:
    backend, keys = pieces
    assert joined_by_score(keys, text) == backend.encode(text, add_special_tokens=False).ids


def test_scores_are_the_order_of_what_merges_make() -> None:
    # Two ways to make "abc" in a row are one place in the order.
    assert scores([("b", "c"), ("a", "bc"), ("ab", "c"), ("a", "b")], ["a", "b", "c", "bc", "abc", "ab"]) == [
        0.0, 0.0, 0.0, -1.0, -2.0, -3.0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("merges", "texts", "reason"),
    [
        ([("a", "b")], ["a", "b", "c", "ab", "bc"], "'b' and 'c', which is no merge"),
        ([("ab", "c"), ("a", "b"), ("a", "bc"), ("b", "c")], ["a", "b", "c", "ab", "bc", "abc"], "others between them"),
    ],
)
def test_merges_that_no_scores_say_are_refused(merges: Any, texts: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        scores(merges, texts)


@pytest.mark.slow
def test_kinds_of_tokens_are_llama_cpps(pieces: tuple[Tokenizer, dict[str, Any]]) -> None:
    _, keys = pieces
    tokens, kinds = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    assert (tokens[:3], kinds[:4]) == (["<unk>", "<s>", "</s>"], [2, 3, 3, 6])
    assert tokens[3] == "<0x00>"
    assert kinds[tokens.index("▁the")] == 1


def test_bytes_keep_their_tokens_and_the_order_of_merges() -> None:
    backend = load_tokenizer(TINY).backend
    keys: Any = vocabulary_of(backend, 671)
    model = json.loads(backend.to_str())["model"]
    assert (keys["tokenizer.ggml.model"], keys["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert [backend.token_to_id(token) for token in keys["tokenizer.ggml.tokens"]] == [*range(671)]
    assert keys["tokenizer.ggml.merges"] == [" ".join(pair) for pair in model["merges"]]
    assert keys["tokenizer.ggml.token_type"][:5] == [3, 3, 3, 3, 1]
    assert keys["tokenizer.ggml.add_bos_token"] is False


def cut_by(*steps: Any, ignore_merges: bool = False) -> Tokenizer:
    backend = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], ignore_merges=ignore_merges))
    backend.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence([*steps])
    return backend


BYTES, UNCUT = pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.ByteLevel(False, use_regex=False)
LLAMA3, QWEN2 = CUTS


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        (cut_by(BYTES), "gpt-2"),
        (cut_by(pre_tokenizers.Digits(individual_digits=True), BYTES), "smollm"),
        (cut_by(pre_tokenizers.Split(Regex(LLAMA3), "isolated"), UNCUT, ignore_merges=True), "llama-bpe"),
        (cut_by(pre_tokenizers.Split(Regex(QWEN2), "isolated"), UNCUT), "qwen2"),
    ],
    ids=["gpt-2", "smollm", "llama-bpe", "qwen2"],
)
def test_how_texts_are_cut_has_llama_cpps_name(backend: Tokenizer, name: str) -> None:
    assert vocabulary_of(backend, 3)["tokenizer.ggml.pre"] == name


def normalized(backend: Tokenizer, normalizer: Any) -> Tokenizer:
    backend.normalizer = normalizer
    return backend


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (cut_by(pre_tokenizers.ByteLevel(add_prefix_space=True)), "no name for how it cuts"),
        (cut_by(pre_tokenizers.Split(Regex(r"\d"), "isolated"), UNCUT), "no name for how it cuts"),
        (cut_by(pre_tokenizers.Split(Regex(LLAMA3), "isolated"), UNCUT), "ignore_merges is False"),
        (cut_by(pre_tokenizers.Whitespace()), "no name for how it cuts"),
        (normalized(cut_by(BYTES), normalizers.Lowercase()), "rewrites texts"),
        (Tokenizer(models.WordLevel({"a": 0}, "a")), "it is a WordLevel"),
    ],
    ids=["prefix", "other expression", "merges ignored", "words", "lower case", "no BPE"],
)
def test_what_llama_cpp_has_no_name_for_is_refused(backend: Tokenizer, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        vocabulary_of(backend, 3)


@pytest.mark.slow
def test_a_sentencepiece_that_is_not_legacy_is_refused() -> None:
    with pytest.raises(UsageError, match="what it puts in front of texts"):
        vocabulary_of(build_backend(SENTENCEPIECE.read_bytes(), {"legacy": False}), 3)


def test_rows_without_a_token_and_tokens_of_exports_are_left_out(tmp_path: Path) -> None:
    plain, export = load_tokenizer(TINY).backend, export_tokenizer(TINY)
    assert (written_rows(plain, 704), written_rows(plain, 671), written_rows(plain, 600)) == (671, 671, 600)
    assert written_rows(export.backend, 704) == 671  # `<image>` behind it is an export's
