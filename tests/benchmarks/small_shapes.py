"""A drawn set in which few tokens cost something: several small shapes an image, drawn as the demo draws one.

Each image has `SHAPES_EACH` shapes in as many of its corners; its caption names all of them, in a fixed order.
The workspace has captions to import, and two sets of images that are kept back, with what is to be said of them: one
to choose settings by, and one to report.
"""

import json
import random
from dataclasses import replace
from pathlib import Path

import yaml
from PIL import Image

from aurora_cli.demo.dataset import png
from aurora_cli.demo.drawing import OVERSAMPLING, PLACES, SIDE, Scene, image_scene, paint
from aurora_cli.demo.records import IMAGE_PROMPT

MARKS = 4
SMALLER = 0.35
"""Radius of a shape, of that of the demo's."""

SETTINGS = {
    "preset": "tiny",
    # 49 patches; the five layers that run can merge down to 2.
    "model": {"vision_config": {"patch_size": 8, "num_hidden_layers": 6}},
}
PROMPTS, CAPTIONS, REFERENCES = "prompts.txt", "captions.jsonl", "references.jsonl"
HELD_OUT, SELECTION = "held-out", "selection"


def write_workspace(root: Path, *, images: int, held_out: int) -> None:
    """Settings; `drawn/` to import with `PROMPTS`; as many images in `held-out/` and in `selection/`."""
    rng = random.Random(1)
    drawn = [_draw(root / "drawn", number, rng) for number in range(images)]
    _write_lines(root / "drawn" / CAPTIONS, [{"image": image, "caption": caption} for image, caption in drawn])
    for folder in (HELD_OUT, SELECTION):
        kept = [_draw(root / folder, number, rng) for number in range(held_out)]
        _write_lines(root / folder / REFERENCES, [{"id": image, "references": [caption]} for image, caption in kept])
    (root / PROMPTS).write_text(f"{IMAGE_PROMPT}\n")
    (root / "aurora.yaml").write_text(yaml.safe_dump(SETTINGS))


def _draw(folder: Path, number: int, rng: random.Random) -> tuple[str, str]:
    """An image's name and caption."""
    marks, name = _marks(rng), f"images/{number:05d}.png"
    image = Image.new("RGB", (SIDE * OVERSAMPLING,) * 2, marks[0].background)
    for mark in marks:
        paint(image, mark, mark.centre)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(png(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
    return name, ", ".join(f"{mark.colour} at the {mark.place}" for mark in marks) + "."


def _marks(rng: random.Random) -> list[Scene]:
    """The circles of an image, in the order of their places."""
    found: dict[str | None, Scene] = {}
    while len(found) < MARKS:
        scene = replace(image_scene(rng), shape="circle")
        found[scene.place] = replace(scene, radius=scene.radius * SMALLER)
    return [found[place] for place in PLACES if place in found]


def _write_lines(file: Path, rows: list[dict[str, object]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
