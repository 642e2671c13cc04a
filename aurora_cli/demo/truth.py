"""The demo's test media: images and videos that are captioned and never trained on, and the truth about each."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.demo.dataset import VIDEO_FILE_FRAMES, encode_video, png
from aurora_cli.demo.drawing import IMAGE_ATTRIBUTES, VIDEO_ATTRIBUTES, Scene, blank, draw, image_scene, video_scene
from aurora_cli.demo.workspace import TRUTH_FILE
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import read_json, write_json
from aurora_cli.io.json_files import JsonObject

SEED = 2
FORMER_NAMES = {"pictures": "images", "clips": "videos"}
"""Folders by the names that they had in version 0.1.0, which scripts may know."""


@dataclass(frozen=True)
class TrueMedium:
    """An image or video, and what is true of it."""

    media: str
    """Relative to the folder of `truth.json`."""
    caption: str
    attributes: Mapping[str, str]
    """Attribute -> its word in a right caption."""

    @property
    def is_video(self) -> bool:
        return "motion" in self.attributes


def write_test_media(folder: Path, count: int) -> None:
    """`count` images, as many videos, the truth about each, and an image and a video that show nothing."""
    rng = random.Random(SEED)
    (folder / "images").mkdir(parents=True)
    (folder / "videos").mkdir()
    (folder / "blank").mkdir()
    truth = []
    for number in range(count):
        scene = image_scene(rng)
        (folder / "images" / f"{number:04d}.png").write_bytes(png(draw(scene)[0]))
        truth.append(_truth(f"images/{number:04d}.png", scene))
    for number in range(count):
        scene = video_scene(rng)
        (folder / "videos" / f"{number:04d}.mp4").write_bytes(encode_video(draw(scene, VIDEO_FILE_FRAMES)))
        truth.append(_truth(f"videos/{number:04d}.mp4", scene))
    (folder / "blank" / "image.png").write_bytes(png(blank(1)[0]))
    (folder / "blank" / "clip.mp4").write_bytes(encode_video(blank(VIDEO_FILE_FRAMES)))
    for former, folder_now in FORMER_NAMES.items():
        (folder / former).symlink_to(folder_now)
    write_json(folder / TRUTH_FILE, truth)


def read_truth(folder: Path) -> tuple[list[TrueMedium], list[TrueMedium]]:
    """The truth about the images, and about the videos.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / TRUTH_FILE
    try:
        truth = [_true_medium(entry) for entry in read_json(path)]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: is not the demo's list of what is true: {error!r}") from error
    return [each for each in truth if not each.is_video], [each for each in truth if each.is_video]


def _truth(media: str, scene: Scene) -> JsonObject:
    return {"media": media, "caption": scene.caption, **scene.attributes}


def _true_medium(entry: Mapping[str, str]) -> TrueMedium:
    names: Sequence[str] = VIDEO_ATTRIBUTES if "motion" in entry else IMAGE_ATTRIBUTES
    return TrueMedium(entry["media"], entry["caption"], {name: entry[name] for name in names})
