"""What is asked about each medium: one of several questions, drawn by a hash of the record's id."""

import re
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from aurora_cli.constants import VIDEO_QUESTION
from aurora_cli.data.media.kinds import MediaKind
from aurora_cli.errors import UsageError, reason_of

IMAGE_QUESTIONS = (
    "Describe the image in detail.",
    "What does this image show?",
    "Describe what you see.",
    "Write a caption for this image.",
    "What is in this image?",
    "Give a description of the image.",
)
"""The first is what `aurora caption` says unless it is given another."""

VIDEO_QUESTIONS = (
    VIDEO_QUESTION,
    "What happens in this video?",
    "Describe what you see in the video.",
    "Write a caption for this video.",
    "What does this video show?",
    "Give a description of the video.",
)

HEADING = re.compile(r"\[(image|video)\]", re.IGNORECASE)


class Questions(NamedTuple):
    """The questions for each kind of medium, never empty."""

    image: tuple[str, ...] = IMAGE_QUESTIONS
    video: tuple[str, ...] = VIDEO_QUESTIONS

    def draw(self, name: str, kind: MediaKind) -> str:
        """The question of the record of this id: the same in every run, whatever else is imported."""
        questions = self.image if kind == "image" else self.video
        return questions[crc32(name.encode("utf-8", "surrogatepass")) % len(questions)]


def read_questions(path: Path | None) -> Questions:
    """The questions of a file, one a line; those below `[image]` or `[video]` are for that kind alone.

    Raises:
        UsageError: there is no such file, or it has no question for a kind.
    """
    if path is None:
        return Questions()
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"import_data.prompts: {path}: cannot be read: {reason_of(error)}") from error
    found: dict[str, list[str]] = {"image": [], "video": []}
    kinds = ["image", "video"]
    for line in filter(None, lines):
        if heading := HEADING.fullmatch(line):
            kinds = [heading[1].lower()]
        else:
            for kind in kinds:
                found[kind].append(line)
    if not found["image"] and not found["video"]:
        raise UsageError(f"import_data.prompts: {path}: holds no question; one a line was expected")
    questions = Questions(
        tuple(found["image"]) or IMAGE_QUESTIONS,
        tuple(found["video"]) or VIDEO_QUESTIONS,
    )
    if any("<image>" in one or "<video>" in one for one in (*questions.image, *questions.video)):
        raise UsageError(
            f"import_data.prompts: {path}: `<image>` and `<video>` are put in front of each; leave them out"
        )
    return questions
