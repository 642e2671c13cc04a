"""What a foreign captioner's image processor does to an image that we do otherwise, in words.

We pad to a square with the mean colour and resize that, bicubic. Levels are scaled and normalised as the file says, all
of which a mean and a deviation can say (`mean_and_deviation`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aurora_cli.checkpoints.facts import FACTS_FILE
from aurora_cli.io.json_files import JsonObject, read_object

CONFIG_FILE = "config.json"
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
LEVEL = 1 / 255
"""By which levels are scaled, as usual."""
RESAMPLING = {0: "nearest neighbour", 1: "Lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "Hamming"}
"""Pillow's numbers, which the files have."""
BICUBIC = 3


def find_processor(folders: Sequence[Path]) -> Path | None:
    """The first image processor's file in the folders."""
    return next((path for folder in folders for name in PROCESSOR_FILES if (path := folder / name).is_file()), None)


def read_processor(file: Path) -> JsonObject:
    """An image processor's settings, which newer files keep inside those of the whole processor."""
    stated = read_object(file)
    nested = stated.get("image_processor", stated)
    return nested if isinstance(nested, dict) else {}


def mean_and_deviation(
    stated: Mapping[str, Any], mean: Sequence[float], std: Sequence[float]
) -> tuple[list[float], ...]:
    """Those that give the processor's values when levels are scaled as usual, whichever way it scales them.

    >>> mean_and_deviation({"rescale_factor": 2 / 255}, [0.5], [0.25])
    ([0.25], [0.125])
    """
    if stated.get("do_normalize", True) is False:
        mean, std = [0.0] * len(mean), [1.0] * len(std)
    factor = stated.get("rescale_factor", LEVEL) if stated.get("do_rescale", True) else 1.0
    scale = float(factor) / LEVEL
    if abs(scale - 1.0) < 1e-6:
        return [*mean], [*std]
    return [one / scale for one in mean], [one / scale for one in std]


def pixels_note(captioner: Path) -> str | None:
    """A line about what a foreign captioner was shown otherwise than it is here; none: it is the same, or ours."""
    if (captioner / FACTS_FILE).exists() or not (captioner / CONFIG_FILE).is_file():
        return None
    config = read_object(captioner / CONFIG_FILE)
    if "vision_config" not in config and config.get("image_aspect_ratio") == "pad":
        return None  # haotian-liu's layout, which pads before its processor
    file = find_processor((captioner,))
    if "model_type" not in config or file is None or "vision_config" not in config:
        return None
    different = differences(read_processor(file))
    if not different:
        return None
    ours = "here images are padded to a square with the mean colour and resized, bicubic"
    return f"{file}: {', and '.join(different)}; {ours}"


def differences(stated: Mapping[str, Any]) -> list[str]:
    """What the processor does otherwise than we do."""
    pads = _kind(stated).startswith("Llava") and bool(stated.get("do_pad", False))
    size, crop = _sides(stated.get("size")), _sides(stated.get("crop_size")) if crops(stated) else None
    found = []
    if stated.get("do_resize", True) is False:
        found.append("images are not resized")
    elif crop is not None and size is not None and crop != size:
        found.append(f"images are resized to {size} px and the {crop} px in their middle are cut out")
    elif not pads and "shortest_edge" in _named(stated.get("size")):
        found.append("the middle of images is cut out" if crops(stated) else "images keep their shape")
    elif not pads:
        found.append("images are squeezed to a square")
    mean = stated.get("image_mean")
    if pads and isinstance(mean, list) and mean_and_deviation(stated, mean, mean)[0] != mean:
        found.append(f"padding has levels of {' '.join(str(int(one * 255)) for one in mean)}")
    resample = stated.get("resample", BICUBIC)
    if resample != BICUBIC:
        found.append(f"they are resized by {RESAMPLING.get(resample, resample)}")
    return found


def crops(stated: Mapping[str, Any]) -> bool:
    """Whether the middle of what is resized is cut out; files may leave out what is usual for their class."""
    return bool(stated.get("do_center_crop", _kind(stated).startswith(("CLIP", "Llava", "Bit"))))


def _kind(stated: Mapping[str, Any]) -> str:
    return str(stated.get("image_processor_type") or stated.get("feature_extractor_type") or "CLIP")


def _named(size: object) -> Mapping[str, Any]:
    """A size under its names; one number is that of the shorter side."""
    if isinstance(size, Mapping):
        return size
    return {"shortest_edge": size} if size else {}


def _sides(size: object) -> int | None:
    sides = {side for name in ("height", "width", "shortest_edge") if (side := _named(size).get(name))}
    return sides.pop() if len(sides) == 1 else None
