"""The annotations of the demo's data set, in the form of the published records: captions, talks, videos, text alone."""

from collections.abc import Iterable, Sequence

from aurora_cli.config.settings import CaptionSettings
from aurora_cli.demo.drawing import FRAMES, Scene
from aurora_cli.io.json_files import JsonObject

TALK_EVERY = 4
"""One record of so many in the language split is a talk; the others, captions, teach no less in fewer tokens."""

TEXTS = (
    ("What is the opposite of left?", "Right."),
    ("What is the opposite of right?", "Left."),
    ("What is the opposite of up?", "Down."),
    ("What is the opposite of down?", "Up."),
    ("How many sides has a triangle?", "Three."),
    ("How many sides has a square?", "Four."),
)

IMAGE_PROMPT = CaptionSettings().prompt
VIDEO_PROMPT = CaptionSettings().clip_prompt

Turns = list[tuple[str, str]]
"""Questions and answers."""


def captions(prefix: str, scenes: Sequence[Scene], *, talk_every: int = 0) -> Iterable[JsonObject]:
    """Images `<prefix>/00000.png` and so on; one in `talk_every` is a talk."""
    for number, scene in enumerate(scenes):
        turns = _turns("<image>\n" + IMAGE_PROMPT, scene, talk=_is_talk(number, talk_every))
        yield {"image": f"{prefix}/{number:05d}.png", **_conversation(turns)}


def frame_lists(scenes: Sequence[Scene]) -> Iterable[JsonObject]:
    """Videos as lists of frame files."""
    for number, scene in enumerate(scenes):
        turns = _turns("<image>\n" * FRAMES + VIDEO_PROMPT, scene, talk=_is_talk(number, TALK_EVERY))
        yield {"image": [f"frames/{number:05d}/{frame}.png" for frame in range(FRAMES)], **_conversation(turns)}


def _is_talk(number: int, every: int) -> bool:
    return every > 0 and number % every == 0


def _turns(prompt: str, scene: Scene, *, talk: bool) -> Turns:
    """A caption; of a talk also a question about each attribute."""
    return [(prompt, scene.caption), *(scene.questions if talk else ())]


def video_files(scenes: Sequence[Scene]) -> Iterable[JsonObject]:
    """Videos as files."""
    for number, scene in enumerate(scenes):
        yield {"video": f"videos/{number:05d}.mp4", **_conversation([(f"<video>\n{VIDEO_PROMPT}", scene.caption)])}


def texts(count: int) -> Iterable[JsonObject]:
    """Conversations about nothing that is shown."""
    for number in range(count):
        yield _conversation([TEXTS[number % len(TEXTS)]])


def _conversation(turns: Turns) -> JsonObject:
    messages = [message for question, answer in turns for message in (("human", question), ("gpt", answer))]
    return {"conversations": [{"from": role, "value": text} for role, text in messages]}
