"""A tokenizer's own chat template, however it asks: training, `aurora caption` and exports prompt with the same ids."""

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from aurora_cli.constants import IGNORE_INDEX, IMAGE, IMAGE_PLACEHOLDER
from aurora_cli.data.annotations.files import RawRecord
from aurora_cli.data.tokenization.boundaries import CUT
from aurora_cli.data.tokenization.encoder import Encoder
from aurora_cli.data.tokenization.prompt import Prompter
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.export.tokenizer import ExportTokenizer, export_tokenizer, write_chat_template, write_tokenizer
from tests.tokenizer_families import FAMILIES, ODD_FAMILIES, ODD_TEMPLATES

pytestmark = pytest.mark.slow

QUESTIONS = ("What is  it?", " More?\n")
ANSWERS = ("The dog runs.", "2 dogs", "A cat.")
ODD_ANSWERS = ("(x)", " A cat", "  two", "\nYes", "\n\nYes", "\tNo.\n", "'s", "é", "A ")
FRAMES = 3
MEDIA: dict[str, tuple[str, int, dict[str, Any]]] = {
    "text": ("", 0, {}),
    "image": (f"{IMAGE}\n", 1, {"image": "a.png"}),
    "video": ("<video>\n", FRAMES, {"video": "v.mp4"}),
}
KNOWN_VOCABULARY = 3000

THINKS = "an empty think block"
"""It thinks before the last answer only."""

JOINED = {("word pieces", "half a word before an answer"), ("always marking", "words before an answer")}
"""Where nothing that a template can write makes an earlier answer of any kind stand alone; `convert` says so."""


class Exported(NamedTuple):
    """A tokenizer with a template: as training, as caption and as plain transformers has it."""

    family: str
    template: str
    encoder: Encoder
    prompter: Prompter
    of_export: Prompter
    """`aurora caption` with the export."""
    export: ExportTokenizer
    plain: PreTrainedTokenizerBase


REPRESENTATIVES = ("llama", "llama, saved again", "phi3", "gemma3", "qwen2", *ODD_FAMILIES)
"""Each way of cutting once; a name alone (BOS, EOS) makes no difference here."""


@pytest.fixture(scope="module", params=REPRESENTATIVES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("family")
    (FAMILIES | ODD_FAMILIES)[request.param](folder)
    (folder / "tokenizer.json").write_text(smaller(load_tokenizer(folder).serialized))
    (folder / "tokenizer.model").unlink(missing_ok=True)
    return request.param, folder


def smaller(serialized: str) -> str:
    """The first pieces of a large vocabulary, and single letters: it cuts as before, and loads in no time."""
    form = json.loads(serialized)
    model = form["model"]
    if len(model["vocab"]) > KNOWN_VOCABULARY:
        model["vocab"] = {text: id for text, id in model["vocab"].items() if id < KNOWN_VOCABULARY or len(text) == 1}
        pairs = [merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"]]
        model["merges"] = [pair for pair in pairs if {*pair, "".join(pair)} <= model["vocab"].keys()]
    return json.dumps(form)


@pytest.fixture(scope="module", params=ODD_TEMPLATES)
def exported(
    family: tuple[str, Path], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    name, source = family
    folder = tmp_path_factory.mktemp("export")
    config = json.loads((source / "tokenizer_config.json").read_text())
    config["chat_template"] = ODD_TEMPLATES[request.param]
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(source)
    export = export_tokenizer(source, OWN_TEMPLATE)
    write_tokenizer(export, folder)
    write_chat_template(OWN_TEMPLATE, export, folder)
    encoder = Encoder(tokenizer, OWN_TEMPLATE, max_length=4096, frames=FRAMES)
    prompters = [Prompter(each, OWN_TEMPLATE) for each in (tokenizer, load_tokenizer(folder))]
    return Exported(name, request.param, encoder, *prompters, export, AutoTokenizer.from_pretrained(folder))


class Taught(NamedTuple):
    """What was taught, and the chat that should look the same."""

    ids: list[int]
    starts: list[int]
    """Of the answers."""
    lasts: list[int]
    """The last target token of each answer."""
    chat: list[dict]


def taught(exported: Exported, medium: str, answers: tuple[str, ...]) -> Taught:
    place, frames, keys = MEDIA[medium]
    turns = [
        (role, text)
        for number, (question, answer) in enumerate(zip(QUESTIONS, answers, strict=False))
        for role, text in (("human", (place if number == 0 else "") + question), ("gpt", answer))
    ]
    record = {**keys, "conversations": [{"from": role, "value": text} for role, text in turns]}
    rows = exported.encoder.encode([RawRecord(1, json.dumps(record).encode())], "x.jsonl", images_are_video=False)
    assert rows.rejected == []
    ids = [exported.export.image_id if token == IMAGE_PLACEHOLDER else token for token in rows.input_ids.tolist()]
    targets = [False, *(rows.labels != IGNORE_INDEX).tolist(), False]
    starts = [at for at in range(len(ids)) if targets[at + 1] and not targets[at]]
    lasts = [ids[at] for at in range(len(ids)) if targets[at + 1] and not targets[at + 2]]
    assert len(starts) == len(answers)
    chat = [{"role": "user" if role == "human" else "assistant", "content": text} for role, text in turns]
    parts = [{"type": "image"}] * frames + [{"type": "text", "text": QUESTIONS[0]}]
    chat[0]["content"] = parts if frames else chat[0]["content"]
    return Taught(ids, starts, lasts, chat)


def asked(exported: Exported, chat: list[dict]) -> list[int]:
    """As a processor does: the tokenizer adds what begins a text, unless the text has it."""
    plain = exported.plain
    text = plain.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    begun = plain.bos_token is not None and text.startswith(plain.bos_token)
    return plain(text, add_special_tokens=not begun)["input_ids"]


def whole(exported: Exported, chat: list[dict]) -> list[int]:
    text = exported.plain.apply_chat_template(chat, tokenize=False)
    return exported.plain(text, add_special_tokens=False)["input_ids"]


def test_prompts_have_the_ids_that_stood_before_an_answer(exported: Exported) -> None:
    is_joined = (exported.family, exported.template) in JOINED
    for medium, turns in itertools.product(MEDIA, (1,) if is_joined else (1, 2)):
        for first in range(len(ANSWERS)):
            answers = (ANSWERS[first:] + ANSWERS[:first])[:turns]
            ids, starts, lasts, chat = taught(exported, medium, answers)
            assert is_joined or whole(exported, chat) == ids
            assert asked(exported, chat[:-1]) == ids[: starts[-1]]
            if turns == 2 and exported.template != THINKS:
                assert asked(exported, chat[:1]) == ids[: starts[0]]
            if turns == 1:
                for prompter in (exported.prompter, exported.of_export):
                    prompt = prompter.ids(QUESTIONS[0], MEDIA[medium][1])
                    placed = [exported.export.image_id if token == IMAGE_PLACEHOLDER else token for token in prompt]
                    assert placed == ids[: starts[0]]
            assert {*lasts} <= {*exported.export.end_ids} & {*exported.prompter.end_ids}


def test_odd_answers_are_taught_behind_the_same_prompt(exported: Exported) -> None:
    for medium, answer in itertools.product(("text", "image"), ODD_ANSWERS):
        ids, starts, _, chat = taught(exported, medium, (answer,))
        assert asked(exported, chat[:1]) == ids[: starts[0]], answer
        if (exported.family, exported.template) in JOINED:
            assert exported.export.unlike
            continue
        ids, starts, _, chat = taught(exported, medium, (answer, answer))
        assert asked(exported, chat[:-1]) == ids[: starts[1]], answer
        if exported.template != THINKS:  # it strips a last answer only
            assert whole(exported, chat) == ids, answer


def test_a_system_turn_is_written_as_before_an_answer(exported: Exported) -> None:
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "So?"}]
    text = exported.plain.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    answered = exported.plain.apply_chat_template([*chat, {"role": "assistant", "content": "The"}], tokenize=False)
    assert answered.startswith(text)
    assert answered.removeprefix(text).lstrip(" \n" + CUT).startswith("The")
