"""Where a question by the tokenizer's own template ends: by hand, for a space that is a token, or half of one."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, normalizers

from aurora_cli.config.settings import Settings
from aurora_cli.constants import IGNORE_INDEX
from aurora_cli.data.annotations.files import RawRecord
from aurora_cli.data.tokenization.encoder import Encoder
from aurora_cli.data.tokenization.prompt import Prompter
from aurora_cli.data.tokenization.tokenizer import TextTokenizer, load_tokenizer
from aurora_cli.errors import DataError, UsageError
from aurora_cli.pipeline.tokenize import command
from tests.tokenizer_families import FAMILIES, ODD_TEMPLATES, with_prefix_space


def tokenizer(folder: Path, template: str, family: str = "qwen2") -> TextTokenizer:
    FAMILIES[family](folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": ODD_TEMPLATES[template]}))
    return load_tokenizer(folder)


def split(text: TextTokenizer, answer: str) -> tuple[list[str], list[str]]:
    """The words of the ids before the answer, and those of its target tokens."""
    record = {"conversations": [{"from": "human", "value": "So?"}, {"from": "gpt", "value": answer}]}
    encoder = Encoder(text, "tokenizer", max_length=99, frames=1)
    row = encoder.encode([RawRecord(1, json.dumps(record).encode())], "x.jsonl", images_are_video=False)
    is_target = row.labels != IGNORE_INDEX
    words = [text.backend.decode([token], skip_special_tokens=False) for token in row.input_ids]
    first = int(np.argmax(is_target))
    return words[:first], [word for word, wanted in zip(words, is_target, strict=True) if wanted]


def test_the_space_before_an_answer_is_the_answers_whatever_the_answer_is(tmp_path):
    text = tokenizer(tmp_path, "a space after the prompt")
    prompt, words = split(text, "The dog")
    assert prompt[-2:] == ["A", ":"]
    assert words[0] == " The"
    assert split(text, "2") == (prompt, [" ", "2", "<|im_end|>"])
    ids = Prompter(text, "tokenizer").ids("So?", 0)
    assert [text.backend.decode([token]) for token in ids] == prompt


def test_words_before_an_answer_are_no_target_and_stand_in_the_prompt(tmp_path):
    text = tokenizer(tmp_path, "words before an answer")
    prompt, words = split(text, "The")
    assert "".join(prompt).endswith("A: Sure-")
    assert words == ["The", "<|im_end|>"]
    assert len(Prompter(text, "tokenizer").ids("So?", 0)) == len(prompt)


def test_a_token_that_would_hold_question_and_answer_is_cut(tmp_path):
    text = tokenizer(tmp_path, "trimmed on the left")
    text.backend.add_tokens([":\n(x"])
    prompt, words = split(text, "(x)")
    assert "".join(prompt).endswith("A:\n")
    assert "".join(words) == "(x)<|im_end|>"


def test_a_template_that_cannot_ask_as_it_teaches_is_a_usage_error_with_the_first_id(tmp_path):
    text = tokenizer(tmp_path, "glued")
    backend = Tokenizer.from_str(text.serialized)
    backend.normalizer = normalizers.Replace(Regex(r"A:(?=\w)"), "B:")
    (tmp_path / "tokenizer.json").write_text(backend.to_str())
    with pytest.raises(UsageError, match=r"before 'A cat.', id \d+ is \d+ \('B'\) in training and \d+ \('A'\) in a"):
        Encoder(load_tokenizer(tmp_path), "tokenizer", max_length=99, frames=1)


def test_a_template_that_thinks_before_last_answers_only_is_named_as_such(tmp_path):
    class Heard(command.Reporter):
        lines: list[str] = []  # noqa: RUF012

        def info(self, message: str) -> None:
            self.lines.append(message)

    tokenizer(tmp_path, "an empty think block")
    chat = [{"from": "human", "value": "So?"}, {"from": "gpt", "value": "Yes."}]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"conversations": chat}) + "\n")
    step = {"inputs": [str(tmp_path / "chats.jsonl")], "template": "tokenizer"}
    settings = Settings.model_validate(
        {"workspace": str(tmp_path), "tokenize": step, "model": {"tokenizer": str(tmp_path)}}
    )
    result = command.run(settings, Heard())
    assert result.folders[0].kept == 1
    assert [line for line in Heard.lines if "earlier answers of a chat otherwise than its last one" in line]


def test_a_tokenizer_without_an_end_is_named(tmp_path):
    with_prefix_space(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"eos_token": None}))
    with pytest.raises(DataError, match="names no eos_token"):
        load_tokenizer(tmp_path)
