"""Captions by llama.cpp beside those of `aurora caption`, id for id."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

import aurora_cli
from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.inputs import Media
from aurora_cli.data.media.transforms import normalise, padding_colour, square_image
from aurora_cli.export.llama_cpp.chat import rendered
from aurora_cli.export.llama_cpp.running import LlamaCpp
from aurora_cli.models.merge_plan import WHOLE
from tests.serve_check.captions import ids_of_caption

QUESTION = "Describe the image in detail."


class Shares(NamedTuple):
    """Of media, those whose captions have equal ids."""

    equal: int
    media: int
    captions: int
    """Different ones of ours."""
    different: list[tuple[list[int], list[int]]]
    """Ours and llama.cpp's."""
    ties: list[float]
    """Of each of those, how far ours was from theirs where they part: of two logits, as a share of the largest."""


def compared(
    model: Path, files: Path, media: Sequence[list[np.ndarray]], *, max_new_tokens: int = 24, squared: bool = True
) -> Shares:
    """Both caption each medium, a list of frames (H, W, 3), with nothing merged.

    `squared`: llama.cpp gets frames as training's transforms make them; else it resizes and pads them itself.
    """
    captioner = aurora_cli.load_captioner(model, token_merging=WHOLE, device="cpu", dtype="float32")
    given: list[Media] = [np.stack(frames) if len(frames) > 1 else frames[0] for frames in media]
    count = max(map(len, media))
    asked = {"prompt": QUESTION, "clip_prompt": QUESTION, "frames": count, "max_new_tokens": max_new_tokens}
    ours = ids_of_caption(captioner, given, 1.0, **asked)
    settings = captioner.image_settings
    fill, side = padding_colour(settings.image_mean), settings.image_size
    file = next(files.glob("model-*.gguf"))
    different, ties = [], []
    with LlamaCpp(file, next(files.glob("mmproj-*.gguf"))) as llama:
        for frames, mine in zip(media, ours, strict=True):
            shown = [square_image(Image.fromarray(one), side, fill) for one in frames] if squared else frames
            theirs = llama.answer(rendered(file, QUESTION, len(frames)), shown, max_new_tokens).new
            if theirs != mine:
                different.append((mine, theirs))
                ties.append(_tie(captioner, shown, mine, theirs))
    return Shares(len(media) - len(different), len(media), len(set(map(tuple, ours))), different, ties)


def _tie(captioner: Captioner, shown: Sequence[np.ndarray], mine: list[int], theirs: list[int]) -> float:
    settings, end = captioner.image_settings, captioner.prompter.end_ids[0]
    mine, theirs = [*mine, end], [*theirs, end]
    at = next(at for at, (one, other) in enumerate(zip(mine, theirs, strict=False)) if one != other)
    ids = [*captioner.prompter.ids(QUESTION, len(shown)), *mine[:at]]
    pixels = normalise(torch.from_numpy(np.stack(shown)), settings.image_mean, settings.image_std)
    with torch.no_grad():
        logits = captioner.model(
            input_ids=torch.tensor([ids]), pixel_values=pixels, media_lengths=[len(shown)], merging=WHOLE
        ).logits[0, -1]
    return float((logits[mine[at]] - logits[theirs[at]]).abs() / logits.abs().max())
