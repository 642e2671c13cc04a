"""What the page asks, and what it is answered."""

import base64
import contextlib
import io
import threading
import time
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aurora_cli.captioning.captioner import Asked, Captioner
from aurora_cli.config.merging import TokenMerging
from aurora_cli.data.media.listing import Medium
from aurora_cli.errors import AuroraError

if TYPE_CHECKING:
    from aurora_cli.checkpoints.checkpoint import Checkpoint


class Refused(Exception):
    """A request that cannot be answered: the status, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Question(NamedTuple):
    """What the page asks about a medium."""

    name: str
    ratio: float
    slowfast: bool
    prompt: str


class Page:
    """A captioner behind the page: one medium at a time."""

    def __init__(self, name: str, captioner: Captioner, checkpoint: "Checkpoint", max_bytes: int) -> None:
        self.name = name
        self.captioner = captioner
        self.checkpoint = checkpoint
        self.max_bytes = max_bytes
        self.captions = 0
        self.turn = threading.Lock()
        self.html = files("aurora_cli.pipeline.caption").joinpath("page.html").read_bytes()
        self.tokens_by_percent = self._tokens()

    def facts(self) -> dict[str, Any]:
        asked = self.captioner.asked
        return {
            "model": self.name,
            "patches": self.tokens_by_percent["100"],
            "tokens": self.tokens_by_percent,
            "ratio": asked.merging.kept_ratio,
            "slowfast": asked.merging.slowfast,
            "prompt": asked.prompt,
            "clip_prompt": asked.clip_prompt,
            "max_bytes": self.max_bytes,
        }

    def answer(self, path: Path, question: Question, write: Any) -> None:
        """Caption the file at `path`; `write` is given each line of the answer."""
        asked = self._asked(question)
        kind = _kind(question.name)
        medium = Medium(question.name, path, kind)
        began = time.monotonic()
        first: list[float] = []

        def say(piece: str) -> None:
            first.append(time.monotonic())
            write({"say": piece})

        made, rejected = self.captioner.caption([medium], asked, say)
        ended = time.monotonic()
        if rejected:
            raise Refused(422, rejected[0]["reason"].replace(str(path), question.name))
        self.captions += 1
        (line,) = made
        until_first = (first[0] if first else ended) - began
        per_token = (ended - began - until_first) / max(1, line["new_tokens"] - 1)
        timing = {"first_token_s": round(until_first, 4), "per_token_s": round(per_token, 5)}
        write({"done": {**line, **timing, "regions": self._regions(medium, asked)}})

    def _asked(self, question: Question) -> Asked:
        asked = self.captioner.asked
        changes = {"kept_ratio": question.ratio, "slowfast": question.slowfast}
        prompt = {"prompt": question.prompt, "clip_prompt": question.prompt} if question.prompt else {}
        return asked._replace(merging=asked.merging.model_copy(update=changes), **prompt)

    def _tokens(self) -> dict[str, int]:
        """Percent of the patches kept -> tokens of a frame, for those that the tower's layers can reach."""
        found: dict[str, int] = {}
        for percent in range(1, 101):
            merging = self.captioner.asked.merging.model_copy(update={"kept_ratio": percent / 100})
            with contextlib.suppress(AuroraError):
                found[str(percent)] = self.captioner.visual_tokens(1, merging)
        return found

    def _regions(self, medium: Medium, asked: Asked) -> list[dict[str, Any]]:
        """Each frame as the tower gets it, and as merging leaves it."""
        from aurora_cli.captioning.regions import PANEL, paint, views_of

        model = self.captioner.model
        tower: Any = model.model.vision_tower
        normalised, images = self.captioner.frames_to_look_at(medium, asked)
        views = views_of(tower, model.config, normalised.to(model.device, model.dtype), asked.merging)
        if asked.merging.slowfast and len(images) > 1:
            whole = TokenMerging(kept_ratio=1.0)
            views[:1] = views_of(tower, model.config, normalised[:1].to(model.device, model.dtype), whole)
        patch = tower.config.patch_size
        shown = []
        for image, view in zip(images, views, strict=True):
            cell = max(1, round(PANEL / max(view.region_RC.shape)))
            painted = paint(image, patch, view.region_RC, cell)
            shown.append({"tokens": view.tokens, "image": _data_url(image), "merged": _data_url(painted)})
        return shown


def _kind(name: str) -> Any:
    from aurora_cli.data.media.kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES

    suffix = Path(name).suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if suffix in IMAGE_SUFFIXES:
        return "image"
    raise Refused(415, f"{name or 'a file without a name'}: is neither an image nor a video by its name")


def _data_url(pixels: Any) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
