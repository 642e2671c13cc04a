"""What programs that serve exports are compared on: small captioners, media, and the ids of `aurora caption`."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import aurora_cli
from aurora_cli.captioning.caption_stream import Writing
from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.inputs import Media as Medium
from aurora_cli.captioning.inputs import caption_inputs
from aurora_cli.captioning.options import CaptionOptions
from aurora_cli.captioning.result import Caption
from aurora_cli.config.settings import ConvertSettings, ModelSettings, Settings
from aurora_cli.console import Reporter
from aurora_cli.demo.dataset import encode_video
from aurora_cli.pipeline.convert.command import run as convert
from tests.captioners import TOKENIZER, make_runs

IMAGES = VIDEOS = 50
NEW_TOKENS = 12

TOWER = {"image_size": 56, "patch_size": 14, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 6,
         "num_attention_heads": 3, "initializer_range": 0.3}  # fmt: skip
TOWERS = {
    "clip": {"model_type": "clip_vision_model", **TOWER},
    "siglip": {"model_type": "siglip_vision_model", **TOWER},
    "dinov2": {"model_type": "dinov2", **TOWER, "mlp_ratio": 2},
}
LANGUAGE = {"vocab_size": 671, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
            "initializer_range": 0.3, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
"""Weights so far apart that the likeliest token is seldom as likely as the next. Heads of 32: vLLM on a CPU has none of
16."""
LANGUAGES = {"llama": {"model_type": "llama", **LANGUAGE}, "qwen2": {"model_type": "qwen2", **LANGUAGE}}


def make_export(folder: Path, tower: str, language: str, **model: int) -> Path:
    """An export of random weights, with its kept ratio at 0.5."""
    settings = ModelSettings(
        tokenizer=str(TOKENIZER),
        vision_config=TOWERS[tower],
        text_config=LANGUAGES[language],
        **{"image_size": TOWER["image_size"], **model},
    )
    make_runs(folder, settings)
    export = ConvertSettings(format="huggingface", verify=False)
    convert(Settings(workspace=folder, model=settings, convert=export), Reporter())
    return folder / "export" / "huggingface"


class Served(NamedTuple):
    """An export, and the captioner that `aurora caption` makes of it."""

    name: str
    export: Path
    captioner: Captioner


def make_served(folder: Path, tower: str, language: str, **model: int) -> Served:
    export = make_export(folder, tower, language, **model)
    return Served(f"{tower}-{language}", export, aurora_cli.load_captioner(export, device="cpu"))


class Media(NamedTuple):
    images: list[Path]
    videos: list[Path]


def make_media(folder: Path) -> Media:
    """Images of all shapes, some as JPEG; videos of ten frames."""
    draw = np.random.default_rng(0)
    images: list[Path] = []
    for number in range(IMAGES):
        images.append(folder / f"{number:02}.{'jpg' if number % 5 == 4 else 'png'}")
        _blocks(draw, int(draw.integers(40, 200)), int(draw.integers(40, 200))).save(images[-1])
    videos: list[Path] = []
    for number in range(VIDEOS):
        videos.append(folder / f"{number:02}.mp4")
        videos[-1].write_bytes(encode_video([_blocks(draw, 64, 48) for _ in range(10)]))
    return Media(images, videos)


def _blocks(draw: np.random.Generator, width: int, height: int) -> Image.Image:
    levels = draw.integers(0, 256, (5, 6, 3), np.uint8)
    return Image.fromarray(levels).resize((width, height), Image.Resampling.NEAREST)


def ids_of_caption(
    captioner: Captioner, media: Sequence[Medium], kept_ratio: float, slowfast: bool = False, **changes: object
) -> list[list[int]]:
    """The new ids of greedy captions; `changes` are other options by their names."""
    given = {"token_kept_ratio": kept_ratio, "slowfast": slowfast, "max_new_tokens": NEW_TOKENS, **changes}
    options = captioner.options.changed(given)
    inputs = caption_inputs(media)
    ids: dict[str, list[int]] = {}

    def kept(writing: Writing, options: CaptionOptions) -> Caption:
        ids[writing.read.medium.name] = writing.ids
        return Captioner._caption(captioner, writing, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(captioner, "_caption", kept)
        captioner.caption_batch(inputs, options)
    return [ids[medium.name] for medium in inputs]


def uri(path: Path) -> dict[str, Any]:
    """The medium as a part of a message."""
    kind = "video" if path.suffix == ".mp4" else "image"
    suffix = {"jpg": "jpeg"}.get(path.suffix[1:], path.suffix[1:])
    data = base64.b64encode(path.read_bytes()).decode()
    return {"type": f"{kind}_url", f"{kind}_url": {"url": f"data:{kind}/{suffix};base64,{data}"}}


def chat_about(captioner: Captioner, *media: Path) -> list[dict[str, Any]]:
    """The messages that ask as `aurora caption` asks."""
    question = captioner.options.question("video" if media[-1].suffix == ".mp4" else "image")
    return [{"role": "user", "content": [*map(uri, media), {"type": "text", "text": question}]}]


def share_equal(found: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> float:
    equal = [[*one] == [*other] for one, other in zip(found, expected, strict=True)]
    return sum(equal) / len(equal)


def write(file: Path, what: object) -> Path:
    file.write_text(json.dumps(what))
    return file
