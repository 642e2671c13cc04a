"""The captioner behind the page: what it shows of the model, and how it captions a medium."""

import base64
import contextlib
import io
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from PIL import Image

from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.inputs import CaptionInput
from aurora_cli.captioning.options import CaptionOptions
from aurora_cli.captioning.regions import PANEL, paint, views_of
from aurora_cli.captioning.result import MediaKind
from aurora_cli.data.media.animations import is_animation
from aurora_cli.data.media.kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from aurora_cli.errors import AuroraError
from aurora_cli.io.json_files import JsonObject
from aurora_cli.models.merge_plan import WHOLE, whole_frames


class RequestRefused(Exception):
    """A request that cannot be answered: the HTTP status, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Question(NamedTuple):
    """The options that the page sends with a medium."""

    name: str
    ratio: float
    slowfast: bool
    prompt: str
    decoding: tuple[tuple[str, float], ...] = ()
    """Other settings of `aurora caption`, of those in `DECODING`."""


DECODING: Mapping[str, Callable[[str], float]] = {
    "max_new_tokens": int,
    "temperature": float,
    "top_p": float,
    "seed": int,
    "frames": int,
}
"""What the page may send of how a caption is written, and how it is read."""


class ModelFacts(TypedDict):
    """model.json: what the page shows of the model before anything is captioned."""

    model: str
    patches: int
    """Of a frame."""
    tokens: dict[str, int]
    """Percent of the patches kept -> tokens of a frame, for those that the tower's layers can reach."""
    ratio: float
    slowfast: bool
    prompt: str
    clip_prompt: str
    decoding: dict[str, float]
    """The values of `DECODING` as the command was given them."""
    max_bytes: int


class Region(TypedDict):
    """A frame as the tower gets it and as merging leaves it, as data URLs."""

    tokens: int
    image: str
    merged: str


class Page:
    """A captioner behind the page: one medium at a time."""

    def __init__(self, name: str, captioner: Captioner, max_bytes: int) -> None:
        self.name = name
        self.captioner = captioner
        self.max_bytes = max_bytes
        self.captions = 0
        """Captions that were made since the page was opened."""
        self.turn = threading.Lock()
        self.html = files("aurora_cli.pipeline.caption").joinpath("page.html").read_bytes()
        self._tokens = self._tokens_by_percent()

    def facts(self) -> ModelFacts:
        options = self.captioner.options
        return {
            "model": self.name,
            "patches": self._tokens["100"],
            "tokens": self._tokens,
            "ratio": options.merging.kept_ratio,
            "slowfast": options.merging.slowfast,
            "prompt": options.prompt,
            "clip_prompt": options.clip_prompt,
            "decoding": {**options.decoding._asdict(), "frames": options.frames},
            "max_bytes": self.max_bytes,
        }

    def answer(self, path: Path, question: Question, write: Callable[[JsonObject], None]) -> None:
        """Caption the file at `path`; `write` is given each line of the answer.

        Raises:
            RequestRefused: it cannot be read.
            UsageError: the kept ratio cannot be reached.
        """
        options = self._options(question)
        kind = "video" if is_animation(path, question.name) else kind_of_name(question.name)
        medium = CaptionInput(question.name, kind, path)
        began = time.monotonic()
        written_at: list[float] = []

        def write_text(piece: str) -> None:
            written_at.append(time.monotonic())
            write({"text": piece})

        captions, uncaptioned = self.captioner.caption_batch([medium], options, write_text)
        ended = time.monotonic()
        for each in uncaptioned:
            raise RequestRefused(422, f"{each.media}: {each.reason.replace(str(path), question.name)}")
        self.captions += 1
        (caption,) = captions
        until_first = (written_at[0] if written_at else ended) - began
        per_token = (ended - began - until_first) / max(1, caption.new_tokens - 1)
        timing = {"first_token_s": round(until_first, 4), "per_token_s": round(per_token, 5)}
        write({"done": {**asdict(caption), **timing, "regions": self._regions(medium, options)}})

    def _options(self, question: Question) -> CaptionOptions:
        """The captioner's own, with those that the page sent. The ratio was checked when the request was read."""
        prompt = question.prompt or None
        changes = {"token_kept_ratio": question.ratio, "slowfast": question.slowfast, **dict(question.decoding)}
        return self.captioner.options.changed({**changes, "prompt": prompt, "clip_prompt": prompt})

    def _tokens_by_percent(self) -> dict[str, int]:
        found: dict[str, int] = {}
        own = self.captioner.options.merging.kept_ratio
        for percent in range(1, 101):
            # The slider's whole percent nearest to the model's own ratio stands for just that, as in page.html.
            ratio = own if percent == max(1, math.floor(own * 100 + 0.5)) else percent / 100
            options = self.captioner.options.changed({"token_kept_ratio": ratio})
            with contextlib.suppress(AuroraError):
                found[str(percent)] = self.captioner.visual_tokens(1, options.merging)
        return found

    def _regions(self, medium: CaptionInput, options: CaptionOptions) -> list[Region]:
        """Each frame as the tower gets it, and as merging leaves it."""
        model, tower = self.captioner.model, self.captioner.model.model.vision_tower
        frames, images = self.captioner.frames_as_seen(medium, options)
        pixels = frames.to(model.device, model.dtype)
        views = views_of(tower, model.config, pixels, options.merging)
        whole = np.flatnonzero(whole_frames([len(images)], options.merging.slowfast)).tolist()
        for frame in whole:
            views[frame : frame + 1] = views_of(tower, model.config, pixels[frame : frame + 1], WHOLE)
        patch = tower.config.patch_size
        regions: list[Region] = []
        for image, view in zip(images, views, strict=True):
            cell = max(1, round(PANEL / max(view.region_RC.shape)))
            painted = paint(image, patch, view.region_RC, cell)
            regions.append({"tokens": view.tokens, "image": _data_url(image), "merged": _data_url(painted)})
        return regions


def kind_of_name(name: str) -> MediaKind:
    """
    Raises:
        RequestRefused: the suffix is neither an image's nor a video's.
    """
    suffix = Path(name).suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if suffix in IMAGE_SUFFIXES:
        return "image"
    raise RequestRefused(415, f"{name or 'a file without a name'}: is neither an image nor a video by its name")


def _data_url(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
