"""Does an export ask as training did, and stop where training did?

Conversations of one and two turns, about an image, a video and nothing, go through training's encoder and through the
written folder: plain transformers' processor where it has one, else the tokenizer as `aurora caption` uses it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from aurora_cli.constants import IMAGE, IMAGE_PLACEHOLDER, VIDEO
from aurora_cli.data.annotations.records import Message, Record, Rejection
from aurora_cli.data.tokenization.encoder import conversation_encoder
from aurora_cli.data.tokenization.prompt import Prompter
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import JsonObject, read_object

QUESTIONS = ("What is  shown here?", "Is there more?")
ANSWERS = ("A cat and 2 dogs.", "No.")
MEDIA = {"text alone": 0, "an image": 1, "a video": 3}
"""What is asked about, and its frames."""


class Conversation(NamedTuple):
    """A conversation as training writes it."""

    what: str
    turns: int
    frames: int
    ids: list[int]
    """IMAGE_PLACEHOLDER for each frame."""
    prompt: list[int]
    """The ids before the last answer: some templates write an earlier one otherwise than they ask."""
    end: int
    """The last id of that answer that training teaches: it ends it."""


def conversations(tokenizer: Path, template: str) -> Iterator[Conversation]:
    """What training writes for the template of that name.

    Raises:
        DataError: the template refuses a conversation.
    """
    encoder = conversation_encoder(load_tokenizer(tokenizer), template)
    for medium, frames in MEDIA.items():
        for turns in (1, 2):
            what = f"{medium}, {turns} turn{'s' * (turns > 1)}"
            record = _record(frames, turns)
            try:
                rendered = encoder.render(record, frames=frames, images_are_video=False, in_order=False)
            except Rejection as rejection:
                raise DataError(f"{what}: the template refuses it: {rejection.detail}") from rejection
            encoded = next(iter(encoder.encode([rendered])))
            ids = np.frombuffer(encoded.tokens, np.int32).tolist()
            start, stop = encoded.target_spans[-1]
            yield Conversation(what, turns, frames, ids, ids[:start], ids[stop - 1])


def _record(frames: int, turns: int) -> Record:
    where = {0: "", 1: f"{IMAGE}\n"}.get(frames, f"{VIDEO}\n")
    messages: list[Message] = []
    for turn in range(turns):
        question = where * (turn == 0) + QUESTIONS[turn]
        messages += [Message("human", question), Message("gpt", ANSWERS[turn])]
    return Record("x", ["image.png"] if frames == 1 else None, "video.mp4" if frames > 1 else None, messages)


def check_ids(export: Path, tokenizer: Path, template: str) -> None:
    """
    Raises:
        DataError: the export asks with other ids than training, or does not stop where training did; the
            message names the first id that differs.
    """
    expected = [*conversations(tokenizer, template)]
    _check_ends(export, {each.end for each in expected})
    if (export / "processor_config.json").exists():
        _check_processor_ids(export, expected)
        return
    ours = load_tokenizer(export)
    prompter = Prompter(ours, template)
    for each in expected:
        if each.turns > 1:  # it asks one question
            continue
        prompt = prompter.ids(QUESTIONS[0], each.frames)
        _compare(export, f"{each.what}, the prompt", each.prompt, prompt, ours.backend)


def _check_processor_ids(export: Path, expected: Sequence[Conversation]) -> None:
    from transformers import AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(export)
    backend = load_tokenizer(export).backend
    for each in expected:
        chat = chat_of(each)
        prompt = _processed(processor, chat[:-1], add_generation_prompt=True)
        whole = _processed(processor, chat, add_generation_prompt=False)
        tokens = prompt.count(processor.image_token_id) // each.frames if each.frames else 0
        _compare(export, f"{each.what}, the prompt", _expanded(each.prompt, processor, tokens), prompt, backend)
        _compare(export, each.what, _expanded(each.ids, processor, tokens), whole, backend)


def chat_of(conversation: Conversation) -> list[JsonObject]:
    """The conversation as transformers takes it."""
    from PIL import Image

    image = {"type": "image", "image": Image.new("RGB", (32, 24))}
    chat: list[JsonObject] = []
    for turn in range(conversation.turns):
        images = [image] * (conversation.frames if turn == 0 else 0)
        chat.append({"role": "user", "content": [*images, {"type": "text", "text": QUESTIONS[turn]}]})
        chat.append({"role": "assistant", "content": [{"type": "text", "text": ANSWERS[turn]}]})
    return chat


def _processed(processor: Any, chat: list[JsonObject], *, add_generation_prompt: bool) -> list[int]:
    inputs = processor.apply_chat_template(
        chat, tokenize=True, return_dict=True, add_generation_prompt=add_generation_prompt
    )
    ids = inputs["input_ids"]
    return [int(token) for token in (ids[0] if isinstance(ids[0], Sequence) else ids)]


def _expanded(ids: list[int], processor: Any, tokens: int) -> list[int]:
    expanded: list[int] = []
    for token in ids:
        expanded += [processor.image_token_id] * tokens if token == IMAGE_PLACEHOLDER else [token]
    return expanded


def _compare(export: Path, what: str, trained: list[int], found: list[int], backend: Tokenizer) -> None:
    if trained == found:
        return
    at = next((at for at, pair in enumerate(zip(trained, found, strict=False)) if pair[0] != pair[1]), None)
    at = min(len(trained), len(found)) if at is None else at

    def shown(ids: list[int]) -> str:
        return f"{ids[at]} ({backend.id_to_token(ids[at])!r})" if at < len(ids) else "none"

    raise DataError(f"{export}: {what}: id {at} is {shown(found)} in the export, and was {shown(trained)} in training")


def _check_ends(export: Path, ends: set[int]) -> None:
    config = read_object(export / "generation_config.json")
    eos: Any = config.get("eos_token_id")
    known = {*eos} if isinstance(eos, list) else {eos}
    if not ends <= known:
        raise DataError(f"{export}: training ended with the ids {sorted(ends)}; it ends with {sorted(known)}")


def check_stops(model: Any, export: Path, tokenizer: Path, template: str) -> None:
    """Plain transformers' model generates, and stops at what ended answers in training, which is made the likeliest.

    Raises:
        DataError: it does not.
    """
    import torch
    from transformers import AutoProcessor, LogitsProcessor, LogitsProcessorList

    class Likeliest(LogitsProcessor):
        def __init__(self, token: int) -> None:
            self.token = token

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            scores[:, self.token] += 1e9
            return scores

    conversation = next(each for each in conversations(tokenizer, template) if each.frames == 1)
    processor: Any = AutoProcessor.from_pretrained(export)
    inputs = processor.apply_chat_template(
        chat_of(conversation)[:1], tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    end = LogitsProcessorList([Likeliest(conversation.end)])
    with torch.no_grad():
        ids = model.generate(**inputs, max_new_tokens=3, logits_processor=end)
    new = ids[0, inputs["input_ids"].shape[1] :].tolist()
    if new != [conversation.end]:
        raise DataError(f"{export}: does not stop at {conversation.end}, which ended answers in training: {new}")
