"""An export's processor sees what training saw: deep greys, transparency, photographs on their side."""

import io

import numpy as np
import pytest
from PIL import Image
from transformers.image_transforms import convert_to_rgb

from aurora_cli.data.media.images import decode_image
from aurora_cli.export.remote import processing_aurora
from aurora_cli.export.remote.bundle import processing_source

COLOURS = np.random.default_rng(0).integers(0, 256, (12, 16, 4), dtype=np.uint8)


def awkward() -> dict[str, Image.Image]:
    rgb = Image.fromarray(COLOURS[..., :3])
    held = Image.Exif()
    held[0x0112] = 6
    rgb.info["exif"] = held.tobytes()
    deep = Image.fromarray((np.arange(192).reshape(12, 16) * 300).astype(np.uint16))
    return {"upright": rgb, "transparent": Image.fromarray(COLOURS), "deep": deep}


@pytest.mark.parametrize("what", awkward())
def test_the_exports_processor_makes_rgb_of_an_image_as_training_does(what: str) -> None:
    image, file = awkward()[what], io.BytesIO()
    image.save(file, "PNG", exif=image.info.get("exif", b""))
    trained = np.asarray(decode_image(file.getvalue(), what).rgb)
    space: dict[str, object] = {}
    exec(compile(processing_source(), "processing_aurora.py", "exec"), space)  # as an export carries it
    for frames in (processing_aurora._frames, space["_frames"]):
        (seen,) = frames([[Image.open(file)]])
        assert (np.asarray(seen) == trained).all()


def test_plain_transformers_lays_transparency_over_the_same_white() -> None:
    trained = np.asarray(processing_aurora._frames(Image.fromarray(COLOURS))[0])
    assert (convert_to_rgb(Image.fromarray(COLOURS), return_numpy=True) == trained).all()
