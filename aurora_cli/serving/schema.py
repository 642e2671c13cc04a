"""OpenAI's request for a chat completion, as far as it is served; what is not is refused by its name."""

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from aurora_cli.config.section import KeptRatio
from aurora_cli.io.json_files import JsonObject
from aurora_cli.serving.refusal import Refusal

MOST_MEDIA = 64
"""Images and videos of one request."""

MOST_VIDEO_FRAMES = 512
"""Of all media of a request that says how many frames its videos have: they are held while it waits."""

MOST_STOPS = 4
MOST_NEW_TOKENS = 1 << 20


def _whole_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds half a character (a lone surrogate)") from error
    return text


Text = Annotated[str, AfterValidator(_whole_text)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ImageUrl(_Part):
    """Where an image is."""

    url: Text
    detail: Literal["auto", "low", "high", "original"] | None = None
    """Read and left: the model has one size."""


class VideoUrl(_Part):
    """Where a video is."""

    url: Text


class TextPart(_Part):
    """Words of a message."""

    type: Literal["text"]
    text: Text


class ImagePart(_Part):
    """An image of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class VideoPart(_Part):
    """A video of a message, as vLLM's server has it too."""

    type: Literal["video_url"]
    video_url: VideoUrl


Part = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]


def _tag_of_content(content: object) -> str:
    return "parts" if isinstance(content, list) else "words"


class ChatMessage(_Part):
    """A turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[Text, Tag("words")] | Annotated[list[Part], Tag("parts")], Discriminator(_tag_of_content)
    ]
    name: Text | None = None
    """Read and left."""
    refusal: Text | None = None
    annotations: list[JsonObject] | None = None
    """Of an answer that a client sends back."""

    @property
    def parts(self) -> list[Part]:
        """Its content; words alone are one part."""
        return [TextPart(type="text", text=self.content)] if isinstance(self.content, str) else self.content


class StreamOptions(_Part):
    """How a stream ends."""

    include_usage: bool = False
    include_obfuscation: bool = False
    """Read and left."""


class MediaOptions(_Part):
    """How media become tokens, as the plugin of vLLM takes it."""

    token_kept_ratio: KeptRatio | None = None
    slowfast: bool | None = None
    frames: int | None = Field(default=None, ge=1, le=MOST_VIDEO_FRAMES)
    """Of each video."""


class ChatRequest(_Part):
    """What is served of a request. `None` is what was not given."""

    messages: list[ChatMessage] = Field(min_length=1)
    model: Text | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=MOST_NEW_TOKENS)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MOST_NEW_TOKENS)
    temperature: float | None = Field(default=None, ge=0.0, le=2.0, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    seed: int | None = Field(default=None, ge=-(1 << 63), lt=1 << 63)
    stop: Annotated[list[Annotated[Text, Field(min_length=1)]], BeforeValidator(_as_list)] | None = Field(
        default=None, max_length=MOST_STOPS
    )
    token_kept_ratio: KeptRatio | None = None
    """Share of a frame's patches that reach the language model."""
    mm_processor_kwargs: MediaOptions = MediaOptions()
    """The same by vLLM's name, and more."""
    return_token_ids: bool | None = None
    """With the ids of the answer, as vLLM gives them."""

    @property
    def kept_ratio(self) -> float | None:
        other = self.mm_processor_kwargs.token_kept_ratio
        return other if self.token_kept_ratio is None else self.token_kept_ratio

    @property
    def new_tokens(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def parts(self) -> Iterator[tuple[str, Part]]:
        """Of all messages in their order, each with where it stands in the request."""
        for number, message in enumerate(self.messages):
            for at, part in enumerate(message.parts):
                inside = () if isinstance(message.content, str) else (at, part.type)
                yield path_of(("messages", number, "content", *inside)), part

    @property
    def media(self) -> list[tuple[str, ImagePart | VideoPart]]:
        """Those of its parts."""
        return [(path, part) for path, part in self.parts if not isinstance(part, TextPart)]


IGNORED = frozenset((
    "metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort",
    "safety_identifier", "service_tier", "store", "user", "verbosity",
))  # fmt: skip
"""Of OpenAI's fields those that change no answer here."""

NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "moderation": (),
    "top_k": (-1, 0),
    "min_p": (0,),
    "ignore_eos": (False,),
    "echo": (False,),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "tool_calls": ([],),
    "function": (),
}
"""Fields that are taken with these values, which ask for nothing, and refused with others."""


def parse_request(content: JsonObject) -> ChatRequest:
    """
    Raises:
        Refusal: a field that is not served, or a value out of its range.
    """
    given = {name: value for name, value in content.items() if name not in IGNORED and value is not None}
    for name, values in NEUTRAL.items():
        if name in given and not _is_one_of(given.pop(name), values):
            taken = " or ".join(repr(value) for value in values) or "null"
            raise Refusal(400, f"{name}: is not served; {taken} is taken", param=name, code="unsupported_value")
    given["messages"] = _without_nulls(given.get("messages"))
    try:
        request = ChatRequest.model_validate(given)
    except ValidationError as error:
        raise _refusal(error) from error
    if len(request.media) > MOST_MEDIA:
        raise Refusal(400, f"messages: hold {len(request.media)} media; at most {MOST_MEDIA} are taken")
    other = request.mm_processor_kwargs.token_kept_ratio
    if other is not None and other != request.kept_ratio:
        reason = f"token_kept_ratio: is {request.kept_ratio:g}, and mm_processor_kwargs says {other:g}"
        raise Refusal(400, reason, param="token_kept_ratio")
    if request.stream_options is not None and not request.stream:
        raise Refusal(400, "stream_options: is for stream: true", param="stream_options")
    return request


def _is_one_of(value: object, values: tuple[object, ...]) -> bool:
    """Whether it is one of the values, and not only equal: `True == 1`."""
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in values)


def _without_nulls(messages: object) -> object:
    """Clients send an answer back with all its empty fields, `tool_calls` and `audio` among them."""
    if not isinstance(messages, list):
        return messages
    empty = (None, [], {})
    keep: Callable[[str, object], bool] = lambda name, value: name == "content" or value not in empty  # noqa: E731
    return [
        {name: value for name, value in each.items() if keep(name, value)} if isinstance(each, dict) else each
        for each in messages
    ]


def _refusal(error: ValidationError) -> Refusal:
    """The first finding, by the field's name as a client writes it."""
    finding = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = path_of(finding["loc"]) or "the request"
    if finding["type"] == "extra_forbidden":
        return Refusal(400, f"{path}: is not served", param=path, code="unsupported_parameter")
    message = "an object was expected" if finding["type"] == "model_type" else finding["msg"]
    return Refusal(400, f"{path}: {message}", param=path, code="invalid_value")


def path_of(steps: tuple[int | str, ...]) -> str:
    """Where something stands in a request, as programs write it; without pydantic's tags of unions.

    >>> path_of(("messages", 0, "content", "parts", 1, "image_url", "image_url", "url"))
    'messages[0].content[1].image_url.url'
    """
    if "parts" in steps[:4]:
        at = steps.index("parts")
        steps = (*steps[:at], *steps[at + 1 : at + 2], *steps[at + 3 :])
    named = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps if step != "words")
    return "".join(named).removeprefix(".")
