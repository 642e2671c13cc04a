"""The page of the server: what it shows of the model, and of a medium that was captioned on it."""

import base64
import contextlib
import io
import math
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from PIL import Image

from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.options import CaptionOptions
from aurora_cli.captioning.regions import PANEL, paint, views_of
from aurora_cli.data.media.kinds import MediaKind, kind_by_name
from aurora_cli.errors import AuroraError
from aurora_cli.models.merge_plan import WHOLE, whole_frames
from aurora_cli.serving.refusal import Refusal


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
    trained_ratios: list[float]
    """Of a model that was trained at several."""
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
    """A captioner behind the page."""

    def __init__(self, name: str, captioner: Captioner, max_bytes: int) -> None:
        self.name = name
        self.captioner = captioner
        self.max_bytes = max_bytes
        self.captions = 0
        """Captions that were made on the page."""
        self.html = files("aurora_cli.serving").joinpath("page.html").read_bytes()
        self._tokens = self._tokens_by_percent()

    def facts(self) -> ModelFacts:
        options = self.captioner.options
        return {
            "model": self.name,
            "patches": self._tokens["100"],
            "tokens": self._tokens,
            "ratio": options.merging.kept_ratio,
            "trained_ratios": [*self.captioner.trained_ratios],
            "slowfast": options.merging.slowfast,
            "prompt": options.prompt,
            "clip_prompt": options.clip_prompt,
            "decoding": {**options.decoding._asdict(), "frames": options.frames},
            "max_bytes": self.max_bytes,
        }

    def options(self, question: Question) -> CaptionOptions:
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

    def regions(self, frames_F3SS: torch.Tensor, options: CaptionOptions) -> list[Region]:
        """Each frame as the tower gets it, and as merging leaves it. Runs the tower: in the model's thread."""
        model, tower = self.captioner.model, self.captioner.model.model.vision_tower
        images = self.captioner.as_seen(frames_F3SS)
        pixels = frames_F3SS.to(model.device, model.dtype)
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


def checked_kind(name: str) -> MediaKind:
    """
    Raises:
        Refusal: the suffix is neither an image's nor a video's.
    """
    kind = kind_by_name(name)
    if kind is None:
        raise Refusal(415, f"{name or 'a file without a name'}: is neither an image nor a video by its name")
    return kind


def _data_url(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
