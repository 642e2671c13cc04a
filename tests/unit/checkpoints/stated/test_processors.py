"""A foreign captioner's image processor: its pixels are ours, or the difference is said. Beside transformers' own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aurora_cli.checkpoints.stated.captioners import read_captioner
from aurora_cli.data.media.reader import load_frames

SIDE = 56
SHAPES = {"square": (70, 70), "wide": (123, 41), "tall": (40, 90), "small": (9, 7), "exact": (56, 56)}
CLIP = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": SIDE},
    "crop_size": {"height": SIDE, "width": SIDE},
    "image_mean": [0.48, 0.45, 0.4],
    "image_std": [0.26, 0.26, 0.27],
}
LLAVA = {
    **CLIP,
    "image_processor_type": "LlavaImageProcessor",
    "do_pad": True,
    "size": {"height": SIDE, "width": SIDE},
    "do_center_crop": False,
}
SIGLIP = {
    "image_processor_type": "SiglipImageProcessor",
    "size": {"height": SIDE, "width": SIDE},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
PROCESSORS: dict[str, tuple[dict[str, Any], str | None]] = {
    "llava, padding": (LLAVA, None),
    "llava, padding, then a crop of the same side": (
        {**LLAVA, "size": {"shortest_edge": SIDE}, "do_center_crop": True},
        None,
    ),
    "llava, padding, levels from -1 to 1": (
        {**LLAVA, "rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3},
        "padding has levels of 255 255 255",
    ),
    "llava, padding, levels as they are, black is the mean": (
        {**LLAVA, "do_rescale": False, "image_mean": [0.0] * 3, "image_std": [58.0] * 3},
        None,
    ),
    "llava, padding, not normalised": ({**LLAVA, "do_normalize": False, "image_mean": [0.0] * 3}, None),
    "llava, padding, bilinear": ({**LLAVA, "resample": 2}, "they are resized by bilinear"),
    "llava, without padding": ({**LLAVA, "do_pad": False}, "images are squeezed to a square"),
    "llava, padding, a larger side and a crop": (
        {**LLAVA, "size": {"shortest_edge": 64}, "do_center_crop": True},
        "images are resized to 64 px and the 56 px in their middle are cut out",
    ),
    "clip": (CLIP, "the middle of images is cut out"),
    "clip, as files leave out what is usual": (
        {name: value for name, value in CLIP.items() if name != "image_processor_type"},
        "the middle of images is cut out",
    ),
    "clip, a larger side": (
        {**CLIP, "size": {"shortest_edge": 64}},
        "images are resized to 64 px and the 56 px in their middle are cut out",
    ),
    "clip, nearest": ({**CLIP, "resample": 0}, "the middle of images is cut out, and they are resized by nearest"),
    "siglip": (SIGLIP, "images are squeezed to a square"),
}


def captioner(folder: Path, processor: dict[str, Any]) -> Path:
    """A folder as far as it is described: transformers' LLaVA."""
    vision = {"model_type": "clip_vision_model", "image_size": SIDE, "patch_size": 14, "num_hidden_layers": 3}
    config = {"model_type": "llava", "vision_config": vision, "text_config": {"model_type": "llama"}}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def of_transformers(processor: dict[str, Any], image: Image.Image) -> np.ndarray:
    """(3, S, S), by the class that the file names."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    classes: dict[str, Any] = {
        "CLIPImageProcessor": CLIPImageProcessorPil,
        "LlavaImageProcessor": LlavaImageProcessorPil,
        "SiglipImageProcessor": SiglipImageProcessorPil,
    }
    given = dict(processor)
    made = classes[given.pop("image_processor_type", "CLIPImageProcessor")](**given)
    return np.asarray(made(image, return_tensors="np")["pixel_values"][0], np.float32)


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_those_of_transformers_or_what_differs_is_said(name: str, tmp_path: Path) -> None:
    processor, different = PROCESSORS[name]
    stated = read_captioner(captioner(tmp_path / "llava", processor))
    assert stated is not None
    model = stated.model
    assert model.image_size == SIDE
    differs = False
    for shape, size in SHAPES.items():
        noise = np.random.default_rng(len(shape)).integers(0, 256, (*size[::-1], 3), np.uint8)
        image = Image.fromarray(noise)
        image.save(tmp_path / f"{shape}.png")
        (ours,) = load_frames(tmp_path / f"{shape}.png", 1, SIDE, model.image_mean, model.image_std)
        theirs = of_transformers(processor, image)
        if theirs.shape != ours.shape or not np.allclose(ours.numpy(), theirs, rtol=0, atol=2e-5):
            differs = True
    assert differs == (different is not None)
    assert (stated.note is not None) == differs
    if different is not None:
        assert stated.note is not None
        assert different in stated.note
        assert "padded to a square" in stated.note


def test_what_aurora_wrote_is_never_said_to_differ(tmp_path: Path) -> None:
    folder = captioner(tmp_path / "llava", CLIP)
    (folder / "aurora.json").write_text(json.dumps({"schema": 1}))
    stated = read_captioner(folder)
    assert stated is None or stated.note is None
