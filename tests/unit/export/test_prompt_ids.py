"""Training, `aurora caption` and an export in plain transformers see the same ids, whatever the tokenizer is."""

import itertools
import json
from typing import NamedTuple

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from aurora_cli.constants import IGNORE_INDEX, IMAGE, IMAGE_PLACEHOLDER
from aurora_cli.data.annotations.files import RawRecord
from aurora_cli.data.tokenization.encoder import Encoder
from aurora_cli.data.tokenization.prompt import Prompter
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, TEMPLATES
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.export.tokenizer import ExportTokenizer, export_tokenizer, write_chat_template, write_tokenizer
from aurora_cli.serving.vllm.prompt import find_marks, laid_out
from tests.tokenizer_families import FAMILIES, ODD_FAMILIES, TEMPLATES_OF, add_tokens

pytestmark = pytest.mark.slow

QUESTIONS = ("Describe it.", " What is  in the image?\n", "More?")
ANSWERS = ("A cat.", "No, 2 dogs.", "The (x) é")
MEDIA = {"text": (0, {}), "image": (1, {"image": "a.jpg"}), "images": (2, {"image": ["a.jpg", "b.jpg"]})}
VIDEO_FRAMES = 3
ALL_FAMILIES = FAMILIES | ODD_FAMILIES


class Conversation(NamedTuple):
    """What was taught, and the chat that should look the same."""

    ids: list[int]
    answer_starts: list[int]
    chat: list[dict]


def pairs() -> list[tuple[str, str]]:
    templates = [*TEMPLATES, OWN_TEMPLATE]
    return [
        (family, template)
        for template in templates
        for family in ALL_FAMILIES
        if family in TEMPLATES_OF.get(template, ALL_FAMILIES)
    ]


class Exported(NamedTuple):
    """One tokenizer under one template: as training, as caption and as plain transformers has it."""

    template: str
    encoder: Encoder
    prompter: Prompter
    export: ExportTokenizer
    plain: PreTrainedTokenizerBase


@pytest.fixture(scope="module", params=pairs(), ids=lambda pair: f"{pair[0]}-{pair[1]}")
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    family, template = request.param
    source, folder = tmp_path_factory.mktemp("tokenizer"), tmp_path_factory.mktemp("export")
    ALL_FAMILIES[family](source)
    if template in TEMPLATES:
        add_tokens(source, TEMPLATES[template].tokens)
    tokenizer = load_tokenizer(source)
    export = export_tokenizer(source, template)
    write_tokenizer(export, folder)
    write_chat_template(template, export, folder)
    encoder = Encoder(tokenizer, template, max_length=4096, frames=VIDEO_FRAMES)
    return Exported(template, encoder, Prompter(tokenizer, template), export, AutoTokenizer.from_pretrained(folder))


def taught(exported: Exported, turns: int, medium: str) -> Conversation:
    """A conversation of so many turns through the encoder of training."""
    images, keys = MEDIA.get(medium, (0, {"video": "v.mp4"}))
    place = IMAGE * images or ("<video>" if medium == "video" else "")
    values = [
        (role, (place if role == "human" and turn == 0 else "") + texts[turn])
        for turn in range(turns)
        for role, texts in (("human", QUESTIONS), ("gpt", ANSWERS))
    ]
    record = {"id": "x", **keys, "conversations": [{"from": role, "value": text} for role, text in values]}
    rows = exported.encoder.encode([RawRecord(1, json.dumps(record).encode())], "x.jsonl", images_are_video=False)
    assert rows.rejected == []
    ids = with_image_id(rows.input_ids.tolist(), exported.export.image_id)
    is_target = (rows.labels != IGNORE_INDEX).tolist()
    ends = [at + 1 for at in range(len(ids)) if ids[at] == exported.prompter.end_id and is_target[at]]
    starts = [next(at for at in range(begin, len(ids)) if is_target[at]) for begin in [0, *ends][:turns]]
    assert len(ends) == turns
    frames = VIDEO_FRAMES if medium == "video" else images
    chat = [
        {"role": {"human": "user", "gpt": "assistant"}[role], "content": text.replace(place, "") if place else text}
        for role, text in values
    ]
    parts = [{"type": "image"}] * frames + [{"type": "text", "text": chat[0]["content"]}]
    chat[0]["content"] = parts if frames else chat[0]["content"]
    return Conversation(ids, starts, chat)


def with_image_id(ids: list[int], image_id: int) -> list[int]:
    return [image_id if token == IMAGE_PLACEHOLDER else token for token in ids]


@pytest.mark.parametrize("medium", [*MEDIA, "video"])
def test_an_export_and_caption_prompt_with_the_ids_of_training(exported: Exported, medium: str) -> None:
    plain = exported.plain
    for turns in (1, 2, 3):
        ids, starts, chat = taught(exported, turns, medium)
        whole = plain.apply_chat_template(chat, tokenize=False)
        assert plain(whole, add_special_tokens=False)["input_ids"] == ids
        for turn, start in enumerate(starts):
            text = plain.apply_chat_template(chat[: 2 * turn + 1], tokenize=False, add_generation_prompt=True)
            # As a processor does: the tokenizer adds what begins a text, unless the text has it.
            begun = plain.bos_token is not None and text.startswith(plain.bos_token)
            assert plain(text, add_special_tokens=not begun)["input_ids"] == ids[:start]
    frames = {"text": 0, "image": 1, "images": 2, "video": VIDEO_FRAMES}[medium]
    prompt = with_image_id(exported.prompter.ids(QUESTIONS[0], frames), exported.export.image_id)
    assert prompt == ids[: starts[0]]


def test_a_video_in_a_chat_becomes_the_ids_of_caption_under_vllm(exported: Exported) -> None:
    plain, image_id = exported.plain, exported.export.image_id
    two = plain(f"{IMAGE} {IMAGE}", add_special_tokens=False)["input_ids"]
    between = two[two.index(image_id) + 1 : -1]
    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": QUESTIONS[0]}]}]
    text = plain.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    begun = plain.bos_token is not None and text.startswith(plain.bos_token)
    ids = plain(text, add_special_tokens=not begun)["input_ids"]
    (mark,) = find_marks(ids, image_id, between, images=0, videos=1, frames=VIDEO_FRAMES)
    assert (mark.kind, mark.end - mark.start) == ("video", 2)
    tokens = laid_out([1] * VIDEO_FRAMES, image_id, between)
    prompt = with_image_id(exported.prompter.ids(QUESTIONS[0], VIDEO_FRAMES), image_id)
    assert [*ids[: mark.start], *tokens, *ids[mark.end :]] == prompt


def test_what_training_taught_as_the_end_ends_an_answer(exported: Exported) -> None:
    record = {"conversations": [{"from": "human", "value": "Well?"}, {"from": "gpt", "value": "Yes."}]}
    rows = exported.encoder.encode([RawRecord(1, json.dumps(record).encode())], "x.jsonl", images_are_video=False)
    last = rows.input_ids[rows.labels != IGNORE_INDEX].tolist()[-1]
    assert exported.prompter.end_ids[0] == last
    assert last in exported.export.end_ids


def test_a_text_without_a_template_begins_as_training_did(exported: Exported) -> None:
    plain, template = exported.plain, TEMPLATES.get(exported.template)
    ids, _, _ = taught(exported, 1, "text")
    words = plain("A", add_special_tokens=False)["input_ids"]
    added = plain("A")["input_ids"][: -len(words)]
    begins = template is not None and template.begin != "" and plain.bos_token is not None
    assert added == (ids[:1] if begins else []) or (template is None and added == ids[:1])


ODD = ("3", "(x)", ":) A", " A cat", "  two", "\nYes", "\n\n", "\tNo.\n", "'s", "▁a", "é", "一", "A ", "USER: x")


def test_answers_and_questions_that_begin_or_end_oddly_have_the_ids_of_training(exported: Exported):
    if exported.template == OWN_TEMPLATE:
        pytest.skip("its own words decide, and may strip")
    for question, answer in itertools.product(["", " ", "Well? ", "So:\n"], ODD):
        chat = [("human", f"{IMAGE}{question}"), ("gpt", answer if answer.strip() else "x"), ("human", "More?")]
        chat += [("gpt", answer + "x"), ("human", f"{question}?"), ("gpt", "Yes")]
        record = {"image": "a.jpg", "conversations": [{"from": role, "value": text} for role, text in chat]}
        rows = exported.encoder.encode([RawRecord(1, json.dumps(record).encode())], "x.jsonl", images_are_video=False)
        assert rows.rejected == []
        messages = [{"role": "user" if role == "human" else "assistant", "content": text} for role, text in chat]
        text = exported.plain.apply_chat_template(messages, tokenize=False)
        ids = exported.plain(text, add_special_tokens=False)["input_ids"]
        assert ids == with_image_id(rows.input_ids.tolist(), exported.export.image_id), (question, answer)


ROWS = ("uua", "uuaua", "uaa", "uuaaua", "uaua")
"""Who speaks, in which order: user and assistant."""


@pytest.mark.parametrize("images", [(), (0,), (1,), (0, 1)])
def test_questions_and_answers_in_a_row_have_the_ids_of_training(exported: Exported, images: tuple[int, ...]) -> None:
    """To training, questions in a row are one, and nothing is asked before a second answer in a row."""
    for speakers in ROWS:
        if speakers.startswith("ua") and 1 in images:
            continue
        texts = [f"{IMAGE * (at in images)}Part {at}?" if who == "u" else "Yes." for at, who in enumerate(speakers)]
        chat = [("human" if who == "u" else "gpt", text) for who, text in zip(speakers, texts, strict=True)]
        record = {
            "image": ["a.jpg"] * len(images),
            "conversations": [{"from": who, "value": text} for who, text in chat],
        }
        rows = exported.encoder.encode([RawRecord(1, json.dumps(record).encode())], "x.jsonl", images_are_video=False)
        assert rows.rejected == []
        messages = [{"role": "user" if who == "human" else "assistant", "content": text} for who, text in chat]
        text = exported.plain.apply_chat_template(messages, tokenize=False)
        ids = exported.plain(text, add_special_tokens=False)["input_ids"]
        assert ids == with_image_id(rows.input_ids.tolist(), exported.export.image_id), speakers
