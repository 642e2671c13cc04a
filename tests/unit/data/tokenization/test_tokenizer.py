"""Tokenizers from folders, and the encoder: spans, cuts, rejects, and equal ids by words."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers
from tokenizers.normalizers import NFC

from aurora_cli.config.workspace import Workspace
from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.annotations.files import RawRecord
from aurora_cli.data.token_store.rejected import RejectedRecord
from aurora_cli.data.tokenization.encoder import Encoder
from aurora_cli.data.tokenization.rows import packed
from aurora_cli.data.tokenization.sentencepiece import parse_model
from aurora_cli.data.tokenization.tokenizer import TextTokenizer, decode, find_tokenizer, load_tokenizer
from aurora_cli.data.tokenization.word_cache import BYTE_LEVEL_PATTERNS, word_cache
from aurora_cli.errors import DataError, UsageError

ROOT = Path(__file__).parents[4]
MISTRAL = ROOT / "tests" / "golden" / "tokenize" / "mistral_v1"
TINY = ROOT / "presets" / "tiny" / "tokenizer"


@pytest.fixture(scope="module")
def mistral():
    return load_tokenizer(MISTRAL)


@pytest.fixture(scope="module")
def tiny():
    return load_tokenizer(TINY)


def raw(**fields) -> RawRecord:
    return RawRecord(1, json.dumps(fields).encode())


def conversation(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if index % 2 else "human", "value": text} for index, text in enumerate(texts)]


def encoded(tokenizer, *records: RawRecord, template="vicuna", max_length=4096, video=False):
    encoder = Encoder(tokenizer, template, max_length=max_length, frames=4)
    return encoder.encode(records, "folder/file.jsonl", images_are_video=video)


def rows(columns):
    ends = np.cumsum(columns.length)
    return [
        (columns.input_ids[end - size : end], columns.labels[end - size : end])
        for end, size in zip(ends, columns.length, strict=True)
    ]


@pytest.mark.parametrize("template", ["vicuna", "plain"])
def test_labels_are_the_answers_and_their_ends(tiny, template):
    turns = conversation("<image>\nWhich shape?", "A red circle.", "And where?", "At the top.")
    columns = encoded(tiny, raw(image="a.jpg", conversations=turns), template=template)
    ((ids, labels),) = rows(columns)
    targets = labels[labels != IGNORE_INDEX]
    assert decode(tiny.backend, targets) == "A red circle.</s>At the top.</s>"
    assert (ids[labels != IGNORE_INDEX] == targets).all()
    assert columns.target_tokens == [len(targets)]
    assert (ids == IMAGE_PLACEHOLDER).sum() == 1


def test_chat_templates_end_answers_with_their_own_token():
    backend = Tokenizer(models.BPE({"a": 0, "b": 1}, [], unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "</s>"]
    backend.add_tokens([AddedToken(token, special=True) for token in special])
    for template, end in (("qwen2", "<|im_end|>"), ("llama3", "<|eot_id|>")):
        tokenizer = TextTokenizer(backend, "<|begin_of_text|>", "</s>", "none", backend.to_str())
        ((_, labels),) = rows(encoded(tokenizer, raw(conversations=conversation("a", "b")), template=template))
        targets = labels[labels != IGNORE_INDEX].tolist()
        assert targets == [backend.token_to_id("b"), backend.token_to_id(end)]


def test_a_template_that_the_tokenizer_cannot_write_is_a_usage_error(tiny):
    with pytest.raises(UsageError, match=r"llama3 needs a tokenizer that has <\|begin_of_text\|>"):
        Encoder(tiny, "llama3", max_length=64, frames=4)
    with pytest.raises(UsageError, match="'nothing' is none of vicuna"):
        Encoder(tiny, "nothing", max_length=64, frames=4)


def test_a_cut_drops_the_media_behind_it(tiny):
    turns = conversation("<image>", "A.", "<image>", "B.", "<image>", "C.")
    record = raw(image=["1", "2", "3"], conversations=turns)
    whole = encoded(tiny, record)
    second = np.flatnonzero(whole.input_ids == IMAGE_PLACEHOLDER)[1]
    cut = encoded(tiny, record, max_length=int(second) + 1)
    assert (cut.input_ids == whole.input_ids[: second + 1]).all()
    assert cut.image == [["1", "2"]]
    assert cut.media_lengths == [[1, 1]]


def test_a_cut_video_keeps_its_first_frames(tiny):
    record = raw(image=["1", "2", "3"], conversations=conversation("Q", "A.", "<image><image><image>", "B."))
    whole = encoded(tiny, record, video=True)
    assert whole.media_lengths == [[3]]
    second = np.flatnonzero(whole.input_ids == IMAGE_PLACEHOLDER)[1]
    cut = encoded(tiny, record, video=True, max_length=int(second) + 1)
    assert (cut.image, cut.media_lengths) == ([["1", "2"]], [[2]])


def test_a_cut_before_the_answer_rejects_the_record(tiny):
    columns = encoded(tiny, raw(id="x", conversations=conversation("Which?", "That.")), max_length=3)
    assert columns.id == []
    assert columns.rejected == [
        RejectedRecord("folder/file.jsonl", line=1, id="x", reason="no_target_tokens", detail="max_length is 3")
    ]


def test_video_rows_have_a_placeholder_a_frame(tiny):
    columns = encoded(tiny, raw(video="c.mp4", conversations=conversation("<video> What?", "A.")))
    assert columns.video == ["c.mp4"]
    assert columns.image == [None]
    assert columns.media_lengths == [[4]]
    assert (columns.input_ids == IMAGE_PLACEHOLDER).sum() == 4


def test_a_folder_without_a_tokenizer_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a\x05nonsense")
    with pytest.raises(DataError, match="is not a tokenizer that can be read"):
        load_tokenizer(tmp_path)


@pytest.mark.slow
def test_the_rebuilt_tokenizer_survives_its_own_json(tmp_path, mistral):
    (tmp_path / "tokenizer.json").write_text(mistral.serialized)
    shutil.copy(MISTRAL / "tokenizer_config.json", tmp_path)
    again = load_tokenizer(tmp_path)
    text = "  two  spaces <s> and a </s>, \n\ttab é \U0001f600 "
    assert again.encode(text) == mistral.encode(text)
    assert (again.bos_id, again.eos_id) == (1, 2)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("USER: ", [2223, 725, 28747, 28705]),
        (" ", [259]),
        ("\n", [28705, 13]),
        ("", []),
        (" A", [28705, 330]),
        ("</s>", [2]),
    ],
)
def test_spaces_and_control_strings_have_the_recorded_ids(mistral, text, ids):
    """The first three and the last stand in the golden rows; a doubled `▁` is piece 259 or two pieces, by its score."""
    assert mistral.encode(text) == ids


def test_the_model_file_has_its_pieces_and_kinds():
    pieces, model_type = parse_model((MISTRAL / "tokenizer.model").read_bytes())
    assert (len(pieces), model_type) == (32_000, 2)
    assert [(piece.text, piece.kind) for piece in pieces[:3]] == [("<unk>", 2), ("<s>", 3), ("</s>", 3)]


@pytest.mark.slow
def test_added_tokens_beside_a_model_file_get_their_ids(tmp_path):
    shutil.copy(MISTRAL / "tokenizer.model", tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"<b>": 32001, "<a>": 32000}')
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": {"content": "<s>"}, "eos_token": "</s>"}')
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("x<a>y<b>")[1::2] == [32000, 32001]


def test_the_tiny_tokenizer_has_a_token_for_each_of_its_words(tiny):
    ids = tiny.encode("A large red circle at the top left moves down.")
    assert len(ids) == 11
    assert tiny.backend.token_to_id("<pad>") == 3


@pytest.mark.slow
@given(st.text(max_size=50))
def test_the_tiny_tokenizer_gives_any_text_back(text):
    backend = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    ids = backend.encode(text, add_special_tokens=False).ids
    assert backend.decode(ids, skip_special_tokens=False) == text


@pytest.mark.slow
def test_ids_by_words_are_the_backends_ids(mistral):
    draw = random.Random(0)
    pieces = [
        " ",
        "  ",
        "   ",
        "▁",
        "\n",
        "the",
        " cat",
        "<s>",
        "</s>",
        "<unk>",
        "é",
        "\U0001f600",
        "\0",
        ".",
        "<0x0A>",
        "图",
    ]
    texts = ["".join(draw.choices(pieces, k=draw.randrange(12))) for _ in range(3_000)]
    check_by_words(mistral.backend, texts)


def check_by_words(backend: Tokenizer, texts: list[str]) -> None:
    cache = word_cache(backend)
    assert cache is not None
    encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
    expected = [packed(encoding.ids) for encoding in encodings]
    assert cache.encode(texts) == expected
    assert cache.encode(texts[::-1]) == expected[::-1]


def byte_level(pattern: str | None, normalizer=None) -> Tokenizer:
    """A byte-level tokenizer with this pattern (none: GPT-2's), trained to merge spaces and signs with letters."""
    backend = Tokenizer(models.BPE())
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    if pattern is not None:
        cut = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), cut])
    backend.pre_tokenizer = cut
    backend.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[AddedToken("<|end|>", special=True, normalized=False)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([GLUE * 3, " the cat's it's  don't\n\n (the) cat, 123 1234 \t\tx"] * 5, trainer)
    return backend


GLUE = "a b, c. d! \n e\n\n f  g   h\ti 12 34'll I'VE x\u00a0y \r\n z\u2003w \x1c \x85 q e\u0301 \u0301 "
WHITE = ["\n", " ", "  ", "\t", "\u00a0", "\u2003", "\x1c", "\x85", "\r"]
BLACK = [
    "<|end|>",
    "the",
    " cat",
    "'s",
    "'LL",
    "(",
    ",",
    "12",
    "e\u0301",
    "\u0301",
    "\U0001f600",
    "图",
    "\0",
    "▁",
    ".\n",
]
PIECES = [*WHITE, *BLACK, "\ue000"]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [None, *BYTE_LEVEL_PATTERNS], ids=["gpt2", "llama3", "qwen2"])
@pytest.mark.parametrize("normalizer", [None, NFC()], ids=["as it is", "nfc"])
def test_ids_by_words_are_those_of_byte_level_backends(pattern, normalizer):
    draw = random.Random(0)
    texts = ["".join(draw.choices(PIECES, k=draw.randrange(14))) for _ in range(1_500)]
    check_by_words(byte_level(pattern, normalizer), [*texts, GLUE, "", " ", "a", " a ", "\n a"])


def test_a_backend_in_which_words_might_touch_is_left_alone():
    other = byte_level(r"\s*\w+\s*|.")
    assert word_cache(other) is None
    prefixed = Tokenizer(models.BPE())
    prefixed.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert word_cache(prefixed) is None


def test_a_file_beside_the_tokenizer_that_is_no_object_is_named(tmp_path):
    folder = Path(shutil.copytree(TINY, tmp_path / "tokenizer"))
    (folder / "tokenizer_config.json").write_text("[]")
    with pytest.raises(DataError, match=r"tokenizer_config\.json: holds a list; an object was expected"):
        load_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"chat_template\.jinja: cannot be read"):
        load_tokenizer(folder)


def test_a_tokenizer_is_found_by_its_folder_or_a_file_in_it(tmp_path):
    shutil.copytree(TINY, tmp_path / "tokenizer")
    fingerprint = load_tokenizer(TINY).fingerprint
    for name in ("tokenizer", "tokenizer/tokenizer.json", str(TINY)):
        assert find_tokenizer(name, Workspace(tmp_path)).fingerprint == fingerprint
