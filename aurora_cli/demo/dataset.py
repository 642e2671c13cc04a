"""The demo's data set, laid out like the published one: `<split>/<subset>/<subset>.jsonl` beside an archive in parts.

As there, an archive may be named unlike its folder, lies in parts of odd sizes, and repeats in several subsets; records
are captions, conversations of several turns, text alone, videos as lists of frames and videos as files.
"""

import gzip
import io
import json
import random
import tarfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from aurora_cli.config.settings import CaptionSettings
from aurora_cli.data.download.manifest import DownloadManifest
from aurora_cli.data.download.origins import Origin, to_record
from aurora_cli.demo.drawing import FRAMES, Scene, blank, draw, image_scene, video_scene
from aurora_cli.io.atomic import write_json, write_text

SEED = 1
HELD_OUT_SEED = 2
VIDEO_FILES_SHARE = 0.1
"""Of the videos, those that are files; the others are lists of frames, which decode faster."""

VIDEO_FILE_FRAMES = 9
VIDEO_FILE_RATE = 8
"""Frames a second."""

TALK_EVERY = 4
"""One record of so many in the language split is a talk; the others, captions, teach as much in fewer tokens."""

TEXTS = (
    ("What is the opposite of left?", "Right."),
    ("What is the opposite of right?", "Left."),
    ("What is the opposite of up?", "Down."),
    ("What is the opposite of down?", "Up."),
    ("How many sides has a triangle?", "Three."),
    ("How many sides has a square?", "Four."),
)

DRAWN = Origin("shapes", "none needed", "", "drawn by `aurora demo`; nothing of the published subset of this name")

IMAGE_PROMPT = CaptionSettings().prompt
VIDEO_PROMPT = CaptionSettings().clip_prompt

Turns = list[tuple[str, str]]


class HeldOut(NamedTuple):
    """An image or video that is captioned and never trained on."""

    media: str
    """Relative to the workspace."""
    scene: Scene


def write_mirror(folder: Path, *, images: int, videos: int) -> None:
    """Draw everything that is trained on into `folder`."""
    rng = random.Random(SEED)
    scenes = [image_scene(rng) for _ in range(images)]
    first, second = scenes[: images // 2], scenes[images // 2 :]
    first_members, second_members = (
        list(_image_members("shapes_1", first)),
        list(_image_members("shapes_2", second)),
    )
    first_tar, second_tar, both_tar = _tar(first_members), _tar(second_members), _tar(first_members + second_members)
    moving = [video_scene(rng) for _ in range(videos)]
    files = max(1, round(VIDEO_FILES_SHARE * videos))
    lists_tar, videos_tar = _tar(_frame_members(moving[files:])), _tar(_video_members(moving[:files]))
    mixed = [
        *_captions("shapes_1", first, talk_every=TALK_EVERY),
        *_captions("shapes_2", second, talk_every=TALK_EVERY),
    ]

    subset = partial(_subset, folder)
    subset("projection", "densefusion", _captions("shapes_1", first), "densefusion", first_tar, [0.5, 0.3])
    subset("projection", "sharegpt4v", _captions("shapes_2", second), "coco_segm_text", second_tar, [0.41])
    subset("vision", "m3it", [*_captions("shapes_2", second, talk_every=1), *_texts(60)], "m3it", second_tar, [0.41])
    subset("vision", "laion", _captions("shapes_1", first), "laion", first_tar, [0.5, 0.3])
    subset("language", "llava_mix", mixed, "vg", both_tar, [0.2, 0.37])
    subset("language", "sharegpt4video_caption", _frame_lists(moving[files:]), "panda", lists_tar, [0.3, 0.3, 0.17])
    subset("language", "miradata", _video_files(moving[:files]), "miradata", videos_tar, [0.6])
    subset("language", "evol", _texts(60))
    drawn = {place.relative_to(folder).as_posix(): to_record((DRAWN,)) for place in sorted(folder.glob("*/*"))}
    DownloadManifest(repo="aurora demo", revision="", commit="", files={}, settings={}, terms=drawn).write(folder)


def write_held_out(folder: Path, count: int) -> None:
    """`count` images, as many videos, the truth about each, and an image and a video that show nothing."""
    rng = random.Random(HELD_OUT_SEED)
    (folder / "images").mkdir(parents=True)
    (folder / "videos").mkdir()
    (folder / "blank").mkdir()
    truth = []
    for number in range(count):
        scene = image_scene(rng)
        (folder / "images" / f"{number:04d}.png").write_bytes(_png(draw(scene)[0]))
        truth.append({"media": f"images/{number:04d}.png", "caption": scene.caption, **scene.attributes})
    for number in range(count):
        scene = video_scene(rng)
        (folder / "videos" / f"{number:04d}.mp4").write_bytes(encode_video(draw(scene, VIDEO_FILE_FRAMES)))
        truth.append({"media": f"videos/{number:04d}.mp4", "caption": scene.caption, **scene.attributes})
    (folder / "blank" / "image.png").write_bytes(_png(blank(1)[0]))
    (folder / "blank" / "clip.mp4").write_bytes(encode_video(blank(VIDEO_FILE_FRAMES)))
    write_json(folder / "truth.json", truth)


def encode_video(frames: Sequence[Image.Image]) -> bytes:
    """An mp4 file of these frames."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(VIDEO_FILE_RATE))
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.qmin = 1
        stream.codec_context.qmax = 2
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _subset(
    folder: Path,
    split: str,
    subset: str,
    records: Iterable[dict[str, Any]],
    archive: str = "",
    tar: bytes = b"",
    cuts: Sequence[float] = (),
) -> None:
    """Annotations and the archive, cut into parts at these shares of its length."""
    place = folder / split / subset
    lines = (json.dumps({"id": f"{subset}-{number:05d}", **record}) for number, record in enumerate(records))
    write_text(place / f"{subset}.jsonl", "".join(f"{line}\n" for line in lines))
    if not archive:
        return
    start = 0
    ends = [start := start + int(share * len(tar)) for share in cuts]
    for number, (begin, end) in enumerate(zip([0, *ends], [*ends, len(tar)], strict=True)):
        (place / f"{archive}.tar.gz.part_{number:03d}").write_bytes(tar[begin:end])


def _tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar.gz whose bytes depend on its members alone."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=1) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as tar,
    ):
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _image_members(prefix: str, scenes: Sequence[Scene]) -> Iterable[tuple[str, bytes]]:
    for number, scene in enumerate(scenes):
        yield f"{prefix}/{number:05d}.png", _png(draw(scene)[0])


def _frame_members(scenes: Sequence[Scene]) -> Iterable[tuple[str, bytes]]:
    for number, scene in enumerate(scenes):
        for frame, image in enumerate(draw(scene)):
            yield f"frames/{number:05d}/{frame}.png", _png(image)


def _video_members(scenes: Sequence[Scene]) -> Iterable[tuple[str, bytes]]:
    for number, scene in enumerate(scenes):
        yield f"videos/{number:05d}.mp4", encode_video(draw(scene, VIDEO_FILE_FRAMES))


def _captions(prefix: str, scenes: Sequence[Scene], *, talk_every: int = 0) -> Iterable[dict[str, Any]]:
    for number, scene in enumerate(scenes):
        turns = _turns("<image>\n" + IMAGE_PROMPT, scene, talk=_is_talk(number, talk_every))
        yield {"image": f"{prefix}/{number:05d}.png", **_conversation(turns)}


def _frame_lists(scenes: Sequence[Scene]) -> Iterable[dict[str, Any]]:
    for number, scene in enumerate(scenes):
        turns = _turns("<image>\n" * FRAMES + VIDEO_PROMPT, scene, talk=_is_talk(number, TALK_EVERY))
        yield {"image": [f"frames/{number:05d}/{frame}.png" for frame in range(FRAMES)], **_conversation(turns)}


def _is_talk(number: int, every: int) -> bool:
    return every > 0 and number % every == 0


def _turns(prompt: str, scene: Scene, *, talk: bool) -> Turns:
    """A caption; of a talk also a question about each attribute."""
    return [(prompt, scene.caption), *(scene.questions if talk else ())]


def _video_files(scenes: Sequence[Scene]) -> Iterable[dict[str, Any]]:
    for number, scene in enumerate(scenes):
        yield {"video": f"videos/{number:05d}.mp4", **_conversation([(f"<video>\n{VIDEO_PROMPT}", scene.caption)])}


def _texts(count: int) -> Iterable[dict[str, Any]]:
    for number in range(count):
        yield _conversation([TEXTS[number % len(TEXTS)]])


def _conversation(turns: Turns) -> dict[str, Any]:
    said = [message for asked, answer in turns for message in (("human", asked), ("gpt", answer))]
    return {"conversations": [{"from": who, "value": words} for who, words in said]}


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
