"""What the judge is asked: two texts in files that a user can read and replace.

`answer.txt` has it answer a question from the caption alone, `judge.txt` has it compare that answer with the right one:
VDCscore's two steps (Chai et al., arXiv 2410.03051). A name in double braces stands for a text.
"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from aurora_cli.errors import UsageError, reason_of
from aurora_cli.io.atomic import write_text

ANSWER, JUDGE = "answer.txt", "judge.txt"

HELD = {ANSWER: ("caption", "question"), JUDGE: ("question", "answer", "prediction")}
"""File -> the names in double braces that it holds."""

_OURS = Path(__file__).parent / "prompts"
_NAME = re.compile(r"\{\{\s*(\w*)\s*\}\}")


class Prompts(NamedTuple):
    """The two texts."""

    answer: str
    judge: str

    def to_answer(self, caption: str, question: str) -> str:
        """The request for an answer from the caption."""
        return _filled(self.answer, {"caption": caption, "question": question})

    def to_judge(self, question: str, answer: str, prediction: str) -> str:
        """The request for a verdict on that answer."""
        return _filled(self.judge, {"question": question, "answer": answer, "prediction": prediction})

    @property
    def sha256(self) -> str:
        return hashlib.sha256("\0".join(self).encode()).hexdigest()


def read_prompts(folder: Path | None) -> Prompts:
    """The prompts in a folder; none: aurora's own.

    Raises:
        UsageError: a file is missing, or does not hold the names that it must hold, and no other.
    """
    return Prompts(*(_read((folder or _OURS) / name) for name in HELD))


def write_prompts(folder: Path) -> list[Path]:
    """Write aurora's own prompts into a folder, to be changed there.

    Raises:
        UsageError: one of them is there already.
    """
    paths = [folder / name for name in HELD]
    if there := next((path for path in paths if path.exists()), None):
        raise UsageError(f"{there}: is there already, and would be replaced", hint="Name another folder.")
    for path in paths:
        write_text(path, (_OURS / path.name).read_text("utf-8"))
    return paths


def _read(path: Path) -> str:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: is no prompt that can be read: {reason_of(error)}",
            hint="aurora evaluate --write-judge-prompts DIR",
        ) from error
    found = {*_NAME.findall(text)}
    if found != {*HELD[path.name]}:
        expected, there = (", ".join(f"{{{{{name}}}}}" for name in sorted(names)) for names in (HELD[path.name], found))
        raise UsageError(f"{path}: holds {there or 'no name in double braces'}; it must hold {expected}")
    return text


def _filled(text: str, values: dict[str, str]) -> str:
    """In one pass: what stands in a caption is text, whatever it looks like."""
    return _NAME.sub(lambda found: values[found[1]], text).strip()
