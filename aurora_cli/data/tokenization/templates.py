"""A conversation as the text that is encoded: which words stand around it, where its images go, what the target is.

The `vicuna` template gives what the original AuroraCap training code gave (tests/golden/tokenize). A template is data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aurora_cli.constants import IMAGE, VIDEO
from aurora_cli.data.annotations.records import Message, Record, Rejection
from aurora_cli.errors import UsageError

OWN_TEMPLATE = "tokenizer"
"""Names the tokenizer's own chat template (`chat_template.py`) instead of one of `TEMPLATES`."""


@dataclass(frozen=True)
class Template:
    """The words around a conversation. `{text}` is the turn's own text."""

    prompt: str
    """Around what the human says, up to where the answer begins."""

    system: str = "{text} "
    """Around the system's text, in front of the first prompt."""

    begin: str | None = None
    """What comes first: one token of the tokenizer's, or empty; none: its BOS."""

    begin_every_turn: bool = False
    """Whether it comes before every turn, not only the first."""

    end: str | None = None
    """What ends an answer, a target token as well: one token of the tokenizer's; none: its EOS."""

    separator: str = ""
    """What follows the end of an answer; no target tokens."""

    images_only: bool = False
    """Whether the prompt's own words are left out."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """What a tokenizer must have as tokens, beside its own BOS and EOS."""
        return tuple(token for token in (self.begin, self.end) if token)

    @property
    def words(self) -> str:
        """All that it writes by itself."""
        return "".join((self.begin or "", self.system, self.prompt, self.end or "", self.separator))


TEMPLATES = {
    "vicuna": Template(prompt="USER: {text} ASSISTANT:", begin_every_turn=True, separator="\n"),
    "plain": Template(prompt="{text}", images_only=True),
    "llama3": Template(
        system="<|start_header_id|>system<|end_header_id|>\n\n{text}<|eot_id|>",
        prompt="<|start_header_id|>user<|end_header_id|>\n\n{text}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        begin="<|begin_of_text|>",
        end="<|eot_id|>",
    ),
    "qwen2": Template(
        system="<|im_start|>system\n{text}<|im_end|>\n",
        prompt="<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n",
        begin="",
        end="<|im_end|>",
        separator="\n",
    ),
}


def get_template(name: str) -> Template:
    """The template of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in TEMPLATES:
        raise UsageError(f"template: {name!r} is none of {', '.join([*TEMPLATES, OWN_TEMPLATE])}")
    return TEMPLATES[name]


def lacking(template: str, token: str) -> UsageError:
    """The error that a tokenizer has no such token, and the template of that name wants it."""
    return UsageError(
        f"template: {template} needs a tokenizer that has {token}, as one token",
        hint="Name one that has it, or a copy that it was added to (add_tokens of transformers): "
        "--set model.tokenizer=FOLDER. Training makes its embedding with --set train.grow_vocabulary=true.",
    )


class Exchange(NamedTuple):
    """A question with its images in front, and its answer."""

    question: str
    answer: str
    is_target: bool
    """Whether a model learns to give the answer."""


class Dialogue(NamedTuple):
    """What is used of a record, in no template's words yet."""

    system: str | None
    exchanges: list[Exchange]
    media_lengths: list[int]
    """Frames of each medium in reading order: 1 an image, n a video. Their sum is the number of placeholders."""


class Turn(NamedTuple):
    """A question and its answer as they are encoded."""

    prompt: list[str]
    """The chunks between images: one more than the turn has images and frames."""
    answer: str
    is_target: bool = True


class Conversation(NamedTuple):
    """A record in a template's words."""

    turns: list[Turn]
    media_lengths: list[int]
    """As a dialogue's."""


def render(
    record: Record, template: Template, *, frames: int, images_are_video: bool, in_order: bool = False
) -> Conversation:
    """The record's turns in the template's words. Parameters and exceptions are those of `dialogue`."""
    system, exchanges, lengths = dialogue(
        record,
        frames=frames,
        images_are_video=images_are_video,
        images_only=template.images_only,
        in_order=in_order,
    )
    turns = [
        Turn(template.prompt.replace("{text}", question).split(IMAGE), answer, is_target)
        for question, answer, is_target in exchanges
    ]
    if system is not None:
        first = turns[0]
        chunk = template.system.replace("{text}", system) + first.prompt[0]
        turns[0] = first._replace(prompt=[chunk, *first.prompt[1:]])
    return Conversation(turns, lengths)


def dialogue(
    record: Record, *, frames: int, images_are_video: bool, images_only: bool = False, in_order: bool = False
) -> Dialogue:
    """What of the record is used: answers before the first question and questions after the last answer are dropped.

    Questions in a row become one. `frames` is what a `<video>` stands for, `images_are_video` says that a list of
    images is one video, `images_only` that the questions' own words are left out, `in_order` that images stay where
    they stand between the words.

    Raises:
        Rejection: nobody answers, an answer is empty, or there are more or fewer images than `<image>`.
    """
    messages = record.messages
    system = messages[0].text if messages and messages[0].role == "system" else None
    used = answered(messages if system is None else messages[1:])
    if not [message for message in used if message.is_target and message.role == "gpt"]:
        raise Rejection("no_answer", f"{len(messages)} turns")
    for index, (role, text, is_target) in enumerate(messages):
        if role == "gpt" and is_target and not text.strip():
            raise Rejection("empty_answer", f"turn {index}")
    lengths = media_lengths(record, used, frames=frames, images_are_video=images_are_video)
    per_video = lengths[0] if record.video is not None or record.is_frame_list else None
    exchanges = []
    question = ""
    for role, text, is_target in used:
        if role == "human":
            if in_order and not images_only:
                question += images_in_order(text, frames=per_video)
            else:
                question += images_first(text, frames=per_video, images_only=images_only)
        else:
            exchanges.append(Exchange(question, text, is_target))
            question = ""
    return Dialogue(system, exchanges, lengths)


def answered(messages: Sequence[Message]) -> Sequence[Message]:
    """From the first question to the last answer."""
    start, end = 0, len(messages)
    while start < end and messages[start].role == "gpt":
        start += 1
    while start < end and messages[end - 1].role == "human":
        end -= 1
    return messages[start:end]


def media_lengths(record: Record, used: Sequence[Message], *, frames: int, images_are_video: bool) -> list[int]:
    """Frames of each medium of a record, in reading order.

    Raises:
        Rejection: there are more or fewer images than `<image>`, or there is a video and not one `<video>`.
    """
    questions = "\n".join([message.text for message in used if message.role == "human"])
    placeholders = questions.count(IMAGE)
    images = len(record.images or ())
    if record.is_frame_list:
        videos = questions.count(VIDEO)
        if (videos, placeholders) not in ((1, 0), (0, images)):
            raise Rejection("video_count", f"one video of {images} frames, {videos} {VIDEO}, {placeholders} {IMAGE}")
        return [images]
    if placeholders != images:
        raise Rejection("image_count", f"{images} images, {placeholders} {IMAGE}")
    if record.video is not None:
        if (placeholders := questions.count(VIDEO)) != 1:
            raise Rejection("video_count", f"one video, {placeholders} {VIDEO}")
        return [frames]
    return [images] if images and images_are_video else [1] * images


def images_first(text: str, *, frames: int | None, images_only: bool = False) -> str:
    """A message with its images in front, as `<image> <image>` and a line break; without images, as it is.

    `frames` is how many images a `<video>` becomes; none: it is a word like others, because the record has no video.

    >>> images_first("See <image> and <image>.", frames=None)
    '<image> <image>\\nSee  and .'
    """
    placeholders = text.count(IMAGE)
    words = text.replace(IMAGE, "") if placeholders else text
    if frames is not None:
        placeholders += frames * text.count(VIDEO)
        words = words.replace(VIDEO, "")
    if not placeholders:
        return "" if images_only else text
    images = " ".join([IMAGE] * placeholders)
    if images_only:
        return f"{images}\n"
    return f"{images}\n{words.strip()}".strip()


def images_in_order(text: str, *, frames: int | None) -> str:
    """A message with its images where they stand, a `<video>` as `frames` of them; none: it is a word like others.

    >>> images_in_order("See <image> and <video>.", frames=2)
    'See <image> and <image> <image>.'
    """
    return text if frames is None else text.replace(VIDEO, " ".join([IMAGE] * frames))
