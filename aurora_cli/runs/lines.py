"""What a run writes line by line: metrics.jsonl, rejected.jsonl and the captions in `samples/`.

A line that has a step is cut away when the run goes on from an earlier one.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from pydantic import Field

from aurora_cli.errors import DataError
from aurora_cli.io.atomic import atomic_write, disk_errors
from aurora_cli.io.json_files import JsonLine, JsonObject

CAPTION_SCORES: Mapping[str, str] = {
    "cider": "CIDEr-D",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "repetition": "repetition",
}
"""Scores of captions in a line of metrics, and what people call them."""


class MetricsLine(JsonLine):
    """What metrics.jsonl says of an optimizer step, over all ranks."""

    WHAT = "a line of metrics"

    step: int
    epoch: float
    """How often the data has been gone through."""
    loss: float
    """Mean cross-entropy of the target tokens, in nats."""
    lr: float
    """The highest of the parts' learning rates."""
    grad_norm: float | None
    """Before clipping; none where it overflowed (fp16)."""
    samples: int
    tokens: int
    """Text and visual."""
    target_tokens: int = Field(validation_alias="taught_tokens", serialization_alias="taught_tokens")
    """Tokens that the loss is the mean of."""
    visual_tokens: int
    fill: float
    """Share of positions that are not padding."""
    step_s: float
    """Seconds, reading included."""
    tokens_per_s: float
    max_mem_mb: float
    """The most so far, on rank 0: of the GPU, or of the process where there is none."""
    validation_loss: float | None = None
    """Only at checkpoints, and only of runs that have validation samples; so too the next two."""
    validation_samples: int | None = None
    validation_target_tokens: int | None = Field(
        default=None, validation_alias="validation_taught_tokens", serialization_alias="validation_taught_tokens"
    )
    validation_loss_at_start: float | None = None
    """Before the first step; in the line of that step alone."""
    cider: float | None = None
    """CIDEr-D of captions of some validation samples, by `train.evaluate_every`; so too the next four."""
    bleu_4: float | None = None
    rouge_l: float | None = None
    repetition: float | None = None
    """Share of a caption's 4-grams that stand in it before."""
    evaluated_captions: int | None = None
    """That these are of."""
    kept_ratio: float | None = None
    """Of the step, in a run that trains at several; so too the next two."""
    distill_loss: float | None = None
    """KL divergence from what the model itself says at `train.distill_ratio`, in nats, the mean of the target tokens;
    of steps at smaller ratios. `loss` is without it."""
    validation_loss_by_ratio: dict[str, float] | None = None
    """At each kept ratio; `validation_loss` is their mean, by their weights."""


class Rejection(NamedTuple):
    """A sample that the loss leaves out."""

    sample: int
    """Its number in the run's data, all folders counted through."""
    id: str
    media: str | None
    """The image or video that cannot be read; none where the media are not the reason."""
    reason: str


class RejectedLine(JsonLine):
    """What rejected.jsonl says of a `Rejection`."""

    WHAT = "a line of rejected samples"

    step: int
    """When it was come across; 0: before the first step."""
    sample: int
    id: str
    media: str | None
    reason: str
    validation: bool = Field(default=False, validation_alias="held_out", serialization_alias="held_out")
    """It is one of the validation samples."""

    @classmethod
    def of(cls, rejection: Rejection, step: int, *, validation: bool = False) -> Self:
        sample, name, media, reason = rejection
        return cls(step=step, sample=sample, id=name, media=media, reason=reason, validation=validation)


class CaptionLine(JsonLine):
    """What a file of `samples/` says of one image or video."""

    WHAT = "a line of sample captions"

    sample: int
    """Its number in the run's data; its image is `<sample>.jpg`."""
    id: str
    frames: tuple[int, ...]
    """Of each image (1) and video of the prompt."""
    prompt: str
    caption: str
    reference: str
    """The answer that the data have."""


Line = TypeVar("Line", bound=JsonLine)

TAIL_BYTES = 1 << 16
"""A line of metrics is far shorter."""


def append_lines(path: Path, lines: Iterable[JsonLine]) -> None:
    """Add lines to the end; no fsync: a tiny model's step is shorter than one."""
    with disk_errors(path), open(path, "a", encoding="utf-8") as file:
        file.write("".join(map(_as_text, lines)))


def write_lines(path: Path, lines: Iterable[JsonLine]) -> None:
    """Make a file of lines, whole or not at all."""
    with atomic_write(path, "w") as file:
        file.writelines(map(_as_text, lines))


def read_lines(path: Path, model: type[Line]) -> Iterator[Line]:
    """The whole lines of a file; a last one that a crash cut short is left out. No file: none.

    Raises:
        DataError: a line is something else; the message says which.
    """
    for number, content in enumerate(read_objects(path), 1):
        yield model.parse(content, Path(f"{path}:{number}"))


def read_objects(path: Path) -> Iterator[JsonObject]:
    """The lines as `read_lines` finds them, their keys unchecked."""
    if not path.is_file():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                content = json.loads(line)
            except json.JSONDecodeError:
                return
            if not isinstance(content, dict):
                raise DataError(f"{path}:{number}: holds a {type(content).__name__}; an object was expected")
            yield content


def last_line(path: Path, kind: type[Line]) -> Line | None:
    """The last whole line of a file, of which no more than the end is read; none: there is none that can be read."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = file.read().split(b"\n")[:-1]
    try:
        return kind.parse(json.loads(lines[-1]), path) if lines else None
    except (json.JSONDecodeError, DataError):
        return None


def cut_back(path: Path, step: int) -> None:
    """Remove the lines of all steps after `step`; the others stay to the letter."""
    if not path.is_file():
        return
    with atomic_write(path, "w") as file:
        for line in read_objects(path):
            if line["step"] <= step:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _as_text(line: JsonLine) -> str:
    return json.dumps(line.to_json(), ensure_ascii=False) + "\n"
