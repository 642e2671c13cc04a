"""From a request to what the engine decodes: prompt ids, frames, options."""

import threading
from collections.abc import Iterator
from typing import NamedTuple

import torch

from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.options import CaptionOptions
from aurora_cli.captioning.sampling import seed_of, seed_of_medium
from aurora_cli.data.annotations.records import Role
from aurora_cli.data.tokenization.prompt import ChatTurn
from aurora_cli.errors import AuroraError
from aurora_cli.serving.media import HeldMedium, MediaLimits, read_medium
from aurora_cli.serving.refusal import Refusal, refusal_of
from aurora_cli.serving.schema import (
    MOST_VIDEO_FRAMES,
    ChatMessage,
    ChatRequest,
    ImagePart,
    TextPart,
    VideoPart,
    path_of,
)

_ROLES: dict[str, Role] = {"user": "human", "assistant": "gpt", "system": "system", "developer": "system"}


class PreparedRow(NamedTuple):
    """A row that may join the batch."""

    prompt: list[int]
    """Ids, with a placeholder a frame."""
    frames_F3SS: torch.Tensor
    media_lengths: list[int]
    options: CaptionOptions
    seed: int
    prompt_tokens: int
    """With all visual tokens."""
    end_ids: list[int]
    """What an answer ends with."""

    @property
    def visual_tokens(self) -> int:
        return self.prompt_tokens - len(self.prompt) + len(self.frames_F3SS)


class Conversations:
    """Prepares rows for one captioner. Any thread calls it."""

    def __init__(self, captioner: Captioner, limits: MediaLimits) -> None:
        self.captioner, self.limits = captioner, limits
        self._writing = threading.Lock()  # encoders remember chunks

    def options(self, request: ChatRequest) -> CaptionOptions:
        """The captioner's own with those of the request.

        Raises:
            Refusal: a value that the model cannot have.
        """
        own = self.captioner.options.decoding.max_new_tokens
        changes = {
            "token_kept_ratio": request.kept_ratio,
            "slowfast": request.mm_processor_kwargs.slowfast,
            "frames": request.mm_processor_kwargs.frames,
            "max_new_tokens": request.new_tokens if request.new_tokens is not None else own,
            "temperature": request.temperature,
            "top_p": request.top_p,
        }
        try:
            options = self.captioner.options.changed(changes)
            self.captioner.visual_tokens(1, options.merging)
        except AuroraError as error:
            raise refusal_of(error) from error
        return options

    def prepare(self, request: ChatRequest) -> PreparedRow:
        """
        Raises:
            Refusal: a medium may not be named, or cannot be read; or the template refuses the conversation.
        """
        options = self.options(request)
        check_roles(request.messages)
        for param, part in request.parts:  # what is said and named is checked before anything is decoded
            if isinstance(part, TextPart):
                self._check_text(part.text, param)
        lengths = [1 if isinstance(part, ImagePart) else options.frames for _, part in request.media]
        if request.mm_processor_kwargs.frames is not None and sum(lengths) > MOST_VIDEO_FRAMES:
            param = "mm_processor_kwargs.frames"
            reason = f"{param}: all media have {sum(lengths):,} frames; at most {MOST_VIDEO_FRAMES} are taken"
            raise Refusal(400, reason, param=param)
        left = iter(lengths)
        turns = [_turn(message, left) for message in request.messages]
        try:
            prompt, tokens = self._ids(turns, lengths, options)
        except AuroraError as error:
            raise refusal_of(error, "messages") from error
        pixels = [self._pixels(part, param, options) for param, part in request.media]
        side = self.captioner.image_settings.image_size
        frames = torch.cat(pixels) if pixels else torch.empty(0, 3, side, side)
        seed = seed_of(options.decoding.seed if request.seed is None else request.seed)
        return PreparedRow(prompt, frames, lengths, options, seed, tokens, self.captioner.prompter.end_ids)

    def _check_text(self, text: str, param: str) -> None:
        try:
            self.captioner.prompter.check(text, param)
        except AuroraError as error:
            raise refusal_of(error, param) from error

    def _pixels(self, part: ImagePart | VideoPart, param: str, options: CaptionOptions) -> torch.Tensor:
        """
        Raises:
            Refusal: it may not be named, or cannot be read.
        """
        kind, url = ("image", part.image_url.url) if isinstance(part, ImagePart) else ("video", part.video_url.url)
        try:
            return self.frames(read_medium(url, kind, self.limits, param), options)
        except AuroraError as error:
            raise _refusal_naming(param, error) from error

    def prepare_medium(self, medium: HeldMedium, options: CaptionOptions) -> PreparedRow:
        """A medium with the question of the options about its kind, as `aurora caption` asks it.

        Raises:
            AuroraError: it cannot be read, or the kept ratio cannot be reached.
        """
        length = options.frames if medium.kind == "video" else 1
        turn = ChatTurn("human", options.question(medium.kind), length)
        prompt, tokens = self._ids([turn], [length], options)
        frames = self.frames(medium, options)
        seed = seed_of_medium(options.decoding.seed, medium.name)
        return PreparedRow(prompt, frames, [length], options, seed, tokens, self.captioner.prompter.end_ids)

    def frames(self, medium: HeldMedium, options: CaptionOptions) -> torch.Tensor:
        """The tower's input.

        Raises:
            DataError: it cannot be read.
        """
        return medium.frames(options.frames, self.captioner.image_settings, options.sampling, self.limits)

    def _ids(self, turns: list[ChatTurn], lengths: list[int], options: CaptionOptions) -> tuple[list[int], int]:
        """The prompt's ids, and how many tokens the language model reads.

        Raises:
            AuroraError: a text or the conversation cannot be written.
            Refusal: it is too long.
        """
        with self._writing:
            prompt = self.captioner.prompter.chat_ids(turns)
        visual = sum(self.captioner.visual_tokens(length, options.merging) for length in lengths)
        tokens = len(prompt) - sum(lengths) + visual
        positions = self.captioner.positions
        if not positions.hold_prompt(tokens):
            reason = f"the prompt has {tokens:,} tokens, and the language model has positions for {positions.limit:,}"
            raise Refusal(400, reason, param="messages", code="context_length_exceeded")
        return prompt, tokens


def check_roles(messages: list[ChatMessage]) -> None:
    """
    Raises:
        Refusal: the last message is no question, or the first is neither a question nor the system's.
    """
    roles = ["system" if message.role == "developer" else message.role for message in messages]
    if roles[-1] != "user":
        raise Refusal(400, f"messages: end with one of the {roles[-1]}; the user's was expected", param="messages")
    if "system" in roles[1:]:
        raise Refusal(400, "messages: the system's comes first, and once", param="messages")
    if roles[0] == "assistant":
        raise Refusal(400, "messages: begin with an answer; a question was expected", param="messages")
    for number, message in enumerate(messages):
        if message.role != "user" and any(not isinstance(part, TextPart) for part in message.parts):
            param = path_of(("messages", number))
            raise Refusal(400, f"{param}: only the user's messages may have images and videos", param=param)


def _refusal_naming(param: str, error: AuroraError) -> Refusal:
    """Of a medium; the network's errors name the URL alone.

    A local variable for what is raised would make a circle of the refusal and the frame that raised it: all that was
    sent would stay until Python looks for circles, which may be never.
    """
    refusal = refusal_of(error, param)
    if not refusal.reason.startswith(param):
        refusal.reason = f"{param}: {refusal.reason}"
    return refusal


def _turn(message: ChatMessage, lengths: Iterator[int]) -> ChatTurn:
    text = "".join(part.text for part in message.parts if isinstance(part, TextPart))
    images = sum(next(lengths) for part in message.parts if not isinstance(part, TextPart))
    return ChatTurn(_ROLES[message.role], text, images)
