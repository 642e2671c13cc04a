"""The demo's data set, laid out like the published one: `<split>/<subset>/<subset>.jsonl` beside an archive in parts.

As there, an archive may be named unlike its folder, lies in parts of odd sizes, and repeats in several subsets; records
are captions, conversations of several turns, text alone, clips as lists of frames and clips as files.
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
from aurora_cli.demo.drawing import FRAMES, Scene, blank, clip_scene, draw, picture_scene
from aurora_cli.io.atomic import write_json, write_text

SEED = 1
HELD_OUT_SEED = 2
CLIP_FILES_SHARE = 0.1
"""Of the clips, those that are files; the others are lists of frames, which decode faster."""

CLIP_FILE_FRAMES = 9
CLIP_FILE_RATE = 8
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

PICTURE_PROMPT = CaptionSettings().prompt
CLIP_PROMPT = CaptionSettings().clip_prompt

Turns = list[tuple[str, str]]


class HeldOut(NamedTuple):
    """A picture or clip that is captioned and never trained on."""

    media: str
    """Relative to the workspace."""
    scene: Scene


def write_mirror(folder: Path, *, pictures: int, clips: int) -> None:
    """Draw everything that is trained on into `folder`."""
    rng = random.Random(SEED)
    scenes = [picture_scene(rng) for _ in range(pictures)]
    first, second = scenes[: pictures // 2], scenes[pictures // 2 :]
    first_members, second_members = (
        list(_picture_members("shapes_1", first)),
        list(_picture_members("shapes_2", second)),
    )
    first_tar, second_tar, both_tar = _tar(first_members), _tar(second_members), _tar(first_members + second_members)
    moving = [clip_scene(rng) for _ in range(clips)]
    files = max(1, round(CLIP_FILES_SHARE * clips))
    lists_tar, clips_tar = _tar(_frame_members(moving[files:])), _tar(_clip_members(moving[:files]))
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
    subset("language", "miradata", _clip_files(moving[:files]), "miradata", clips_tar, [0.6])
    subset("language", "evol", _texts(60))
    drawn = {place.relative_to(folder).as_posix(): to_record((DRAWN,)) for place in sorted(folder.glob("*/*"))}
    DownloadManifest(repo="aurora demo", revision="", commit="", files={}, settings={}, terms=drawn).write(folder)


def write_held_out(folder: Path, count: int) -> None:
    """`count` pictures, as many clips, the truth about each, and a picture and a clip that show nothing."""
    rng = random.Random(HELD_OUT_SEED)
    (folder / "pictures").mkdir(parents=True)
    (folder / "clips").mkdir()
    (folder / "blank").mkdir()
    truth = []
    for number in range(count):
        scene = picture_scene(rng)
        (folder / "pictures" / f"{number:04d}.png").write_bytes(_png(draw(scene)[0]))
        truth.append({"media": f"pictures/{number:04d}.png", "caption": scene.caption, **scene.attributes})
    for number in range(count):
        scene = clip_scene(rng)
        (folder / "clips" / f"{number:04d}.mp4").write_bytes(encode_clip(draw(scene, CLIP_FILE_FRAMES)))
        truth.append({"media": f"clips/{number:04d}.mp4", "caption": scene.caption, **scene.attributes})
    (folder / "blank" / "picture.png").write_bytes(_png(blank(1)[0]))
    (folder / "blank" / "clip.mp4").write_bytes(encode_clip(blank(CLIP_FILE_FRAMES)))
    write_json(folder / "truth.json", truth)


def encode_clip(frames: Sequence[Image.Image]) -> bytes:
    """An mp4 file of these frames."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(CLIP_FILE_RATE))
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


def _picture_members(prefix: str, scenes: Sequence[Scene]) -> Iterable[tuple[str, bytes]]:
    for number, scene in enumerate(scenes):
        yield f"{prefix}/{number:05d}.png", _png(draw(scene)[0])


def _frame_members(scenes: Sequence[Scene]) -> Iterable[tuple[str, bytes]]:
    for number, scene in enumerate(scenes):
        for frame, image in enumerate(draw(scene)):
            yield f"frames/{number:05d}/{frame}.png", _png(image)


def _clip_members(scenes: Sequence[Scene]) -> Iterable[tuple[str, bytes]]:
    for number, scene in enumerate(scenes):
        yield f"clips/{number:05d}.mp4", encode_clip(draw(scene, CLIP_FILE_FRAMES))


def _captions(prefix: str, scenes: Sequence[Scene], *, talk_every: int = 0) -> Iterable[dict[str, Any]]:
    for number, scene in enumerate(scenes):
        turns = _turns("<image>\n" + PICTURE_PROMPT, scene, talk=_is_talk(number, talk_every))
        yield {"image": f"{prefix}/{number:05d}.png", **_conversation(turns)}


def _frame_lists(scenes: Sequence[Scene]) -> Iterable[dict[str, Any]]:
    for number, scene in enumerate(scenes):
        turns = _turns("<image>\n" * FRAMES + CLIP_PROMPT, scene, talk=_is_talk(number, TALK_EVERY))
        yield {"image": [f"frames/{number:05d}/{frame}.png" for frame in range(FRAMES)], **_conversation(turns)}


def _is_talk(number: int, every: int) -> bool:
    return every > 0 and number % every == 0


def _turns(prompt: str, scene: Scene, *, talk: bool) -> Turns:
    """A caption; of a talk also a question about each attribute."""
    return [(prompt, scene.caption), *(scene.questions if talk else ())]


def _clip_files(scenes: Sequence[Scene]) -> Iterable[dict[str, Any]]:
    for number, scene in enumerate(scenes):
        yield {"video": f"clips/{number:05d}.mp4", **_conversation([(f"<video>\n{CLIP_PROMPT}", scene.caption)])}


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
