"""Targets, proved by decoding the labels: answers and their ends, whatever the template and the tokenizer."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer

from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.annotations.files import RawRecord
from aurora_cli.data.token_store.columns import EncodedRecords
from aurora_cli.data.tokenization.encoder import Encoder
from aurora_cli.data.tokenization.prompt import Prompter
from aurora_cli.data.tokenization.templates import TEMPLATES
from aurora_cli.data.tokenization.tokenizer import TextTokenizer, decode, load_tokenizer
from tests.chat_templates import CHAT_TEMPLATES
from tests.tokenizing import ROOT, TINY

MISTRAL = ROOT / "tests" / "golden" / "tokenize" / "mistral_v1"
SPECIAL = (
    *("<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *(token for template in TEMPLATES.values() for token in template.tokens),
)

ENDS = {name: template.end or "</s>" for name, template in TEMPLATES.items()}

PIECES = [
    "A cat",
    " and",
    "  two",
    " dogs.",
    "\n",
    "é",
    "\U0001f600",
    "図",
    " <image>",
    " the <video> tag",
    "▁",
    "USER:",
    "'s",
    "12",
]


def with_special_tokens(folder: Path, chat_template: str | None = None) -> TextTokenizer:
    """The tokenizer in the folder, with the tokens that chat templates speak of."""
    tokenizer = load_tokenizer(folder)
    backend = Tokenizer.from_str(tokenizer.serialized)
    backend.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    return TextTokenizer(backend, "<s>", "</s>", "none", backend.to_str(), chat_template, tokens)


def random_record(draw: random.Random, index: int) -> dict:
    """A few turns in any order of roles; answers have words but no `<image>`, so that the labels can be kept apart."""
    turns = []
    placeholders = 0
    for _ in range(draw.randrange(1, 7)):
        text = "".join(draw.choices(PIECES, k=draw.randrange(6)))
        role = draw.choice(["human", "gpt"])
        text = text if role == "human" else text.replace("<image>", "").strip(" \n") or "Yes."
        placeholders += text.count("<image>")
        turns.append({"from": role, "value": text})
    turns = [{"from": "human", "value": "Well?"}, *turns, {"from": "gpt", "value": f"Number {index}."}]
    images = [f"{number}.jpg" for number in range(placeholders)]
    return {"id": index, "image": images, "conversations": turns}


def encode(tokenizer: TextTokenizer, template: str, records: list[dict], max_length: int = 4096) -> EncodedRecords:
    encoder = Encoder(tokenizer, template, max_length=max_length, frames=3)
    raws = [RawRecord(number, json.dumps(record).encode()) for number, record in enumerate(records, start=1)]
    return encoder.encode(raws, "x.jsonl", images_are_video=False)


def rows(columns: EncodedRecords) -> list[tuple[np.ndarray, np.ndarray]]:
    ends = np.cumsum(columns.length)
    return [
        (columns.input_ids[end - length : end], columns.labels[end - length : end])
        for end, length in zip(ends, columns.length, strict=True)
    ]


def target_runs(tokenizer: TextTokenizer, labels: np.ndarray) -> list[str]:
    """The text of every unbroken run of target tokens."""
    is_target = labels != IGNORE_INDEX
    borders = np.flatnonzero(np.diff(np.concatenate([[False], is_target, [False]]).astype(int)))
    return [decode(tokenizer.backend, labels[start:stop]) for start, stop in borders.reshape(-1, 2)]


def answers(record: dict) -> list[str]:
    return [turn["value"] for turn in record["conversations"] if turn["from"] == "gpt"]


@pytest.mark.slow
@pytest.mark.parametrize("folder", [TINY, MISTRAL], ids=["bytes", "sentencepiece"])
@pytest.mark.parametrize("template", ENDS)
def test_labels_are_the_answers_and_their_ends(folder, template):
    tokenizer = with_special_tokens(folder)
    records = [random_record(random.Random(seed), seed) for seed in range(60)]
    columns = encode(tokenizer, template, records)
    assert columns.rejected == []
    for record, (ids, labels) in zip(records, rows(columns), strict=True):
        assert (ids[labels != IGNORE_INDEX] == labels[labels != IGNORE_INDEX]).all()
        expected = "".join(answer + ENDS[template] for answer in answers(record))
        decoded = "".join(target_runs(tokenizer, labels))
        assert decoded == expected if folder == TINY else same_letters(decoded, expected)


def same_letters(left: str, right: str) -> bool:
    """Whether they differ in nothing but white space: sentencepiece's decoder drops some, a template strips some."""
    return [letter for letter in left if letter not in " ▁\n"] == [letter for letter in right if letter not in " ▁\n"]


@pytest.mark.slow
@pytest.mark.parametrize("folder", [TINY, MISTRAL], ids=["bytes", "sentencepiece"])
@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_a_tokenizers_own_template_teaches_the_answers_and_their_ends(folder, name):
    chat = CHAT_TEMPLATES[name]
    tokenizer = with_special_tokens(folder, chat.source)
    records = [random_record(random.Random(seed), seed) for seed in range(60)]
    columns = encode(tokenizer, "tokenizer", records)
    assert columns.rejected == []
    for record, (ids, labels) in zip(records, rows(columns), strict=True):
        assert (ids == IMAGE_PLACEHOLDER).sum() == len(record["image"])
        expected = "".join(answer + chat.end for answer in answers(record))
        assert same_letters("".join(target_runs(tokenizer, labels)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("folder", [TINY, MISTRAL], ids=["bytes", "sentencepiece"])
@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_a_tokenizers_own_template_gives_the_ids_of_transformers(folder, name):
    from transformers import PreTrainedTokenizerFast

    chat = CHAT_TEMPLATES[name]
    tokenizer = with_special_tokens(folder, chat.source)
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend, bos_token="<s>", eos_token="</s>")
    turns = [("user", "Which shape?"), ("assistant", "A circle."), ("user", " Sure?\n"), ("assistant", "Yes, yes. ")]
    contents = [(role, [{"type": "text", "text": text}] if chat.in_parts else text) for role, text in turns]
    expected = theirs.apply_chat_template(
        [{"role": role, "content": content} for role, content in contents],
        chat_template=chat.source,
        return_dict=False,
    )
    columns = encode(
        tokenizer, "tokenizer", [{"conversations": [{"from": role, "value": text} for role, text in turns]}]
    )
    assert columns.input_ids.tolist() == expected


@pytest.mark.parametrize("template", ["vicuna", "tokenizer"])
def test_an_answer_of_weight_0_is_read_and_no_target(template):
    tokenizer = with_special_tokens(TINY, CHAT_TEMPLATES["chatml"].source)
    messages = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Wrong.", "weight": 0},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "Right."},
    ]
    columns = encode(tokenizer, template, [{"messages": messages}, {"messages": messages[:2]}])
    ((ids, labels),) = rows(columns)
    assert "Wrong." in decode(tokenizer.backend, ids)
    assert target_runs(tokenizer, labels) == ["Right." + ("</s>" if template == "vicuna" else "<|im_end|>")]
    assert [record.reason for record in columns.rejected] == ["no_answer"]


def original(record: dict, tokenizer: TextTokenizer, max_length: int) -> tuple[list[int], list[int]] | None:
    """A record at a time and a chunk at a time, as the original training code makes its rows; None: it drops it."""
    turns = list(record["conversations"])
    while turns and turns[0]["from"] == "gpt":
        turns.pop(0)
    ids: list[int] = []
    labels: list[int] = []
    question = ""
    for turn in turns:
        text = turn["value"]
        if turn["from"] == "human":
            if "<image>" in text:
                placeholders = text.count("<image>")
                text = text.replace("<image>", "").strip()
                text = " ".join(["<image>"] * placeholders) + "\n" + text
                text = text.strip()
            question += text
            continue
        ids.append(tokenizer.bos_id)
        labels.append(IGNORE_INDEX)
        for number, chunk in enumerate(f"USER: {question} ASSISTANT:".split("<image>")):
            if number:
                ids.append(IMAGE_PLACEHOLDER)
                labels.append(IGNORE_INDEX)
            encoded = tokenizer.backend.encode(chunk, add_special_tokens=False).ids
            ids += encoded
            labels += [IGNORE_INDEX] * len(encoded)
        answer = tokenizer.backend.encode(text, add_special_tokens=False).ids
        ids += [*answer, tokenizer.eos_id]
        labels += [*answer, tokenizer.eos_id]
        separator = tokenizer.backend.encode("\n", add_special_tokens=False).ids
        ids += separator
        labels += [IGNORE_INDEX] * len(separator)
        question = ""
    ids, labels = ids[:max_length], labels[:max_length]
    return (ids, labels) if any(label != IGNORE_INDEX for label in labels) else None


@pytest.mark.slow
@pytest.mark.parametrize("max_length", [64, 4096])
@pytest.mark.parametrize("folder", [TINY, MISTRAL], ids=["bytes", "sentencepiece"])
def test_rows_are_those_of_a_record_at_a_time(folder, max_length):
    tokenizer = load_tokenizer(folder)
    records = [random_record(random.Random(seed), seed) for seed in range(400)]
    records += [
        {**record, "conversations": [{"from": "gpt", "value": "Before."}, *record["conversations"]]}
        for record in records[:50]
    ]
    columns = encode(tokenizer, "vicuna", records, max_length)
    expected = [original(record, tokenizer, max_length) for record in records]
    assert [(ids.tolist(), labels.tolist()) for ids, labels in rows(columns)] == [row for row in expected if row]
    assert {record.reason for record in columns.rejected} <= {"no_target_tokens"}
    assert len(columns.rejected) == expected.count(None)


@pytest.mark.parametrize("template", [*ENDS, "tokenizer"])
def test_a_prompt_has_the_ids_that_stood_before_an_answer(template):
    tokenizer = with_special_tokens(TINY, CHAT_TEMPLATES["chatml"].source)
    turns = [{"from": "human", "value": "<image><image>What? "}, {"from": "gpt", "value": "A cat."}]
    ((ids, labels),) = rows(encode(tokenizer, template, [{"image": ["1", "2"], "conversations": turns}]))
    prompter = Prompter(tokenizer, template)
    assert prompter.ids("What? ", 2) == ids[: int(np.argmax(labels != IGNORE_INDEX))].tolist()
    assert labels[labels != IGNORE_INDEX][-1] == prompter.end_id
