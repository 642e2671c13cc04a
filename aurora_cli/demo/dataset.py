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

from PIL import Image

from aurora_cli.data.download.manifest import DownloadManifest
from aurora_cli.data.download.origin import Origin
from aurora_cli.demo.drawing import Scene, draw, image_scene, video_scene
from aurora_cli.demo.records import TALK_EVERY, captions, frame_lists, texts, video_files
from aurora_cli.io.atomic import write_text
from aurora_cli.io.json_files import JsonObject

SEED = 1
VIDEO_FILES_SHARE = 0.1
"""Of the videos, those that are files; the others are lists of frames, which decode faster."""

VIDEO_FILE_FRAMES = 9
VIDEO_FILE_RATE = 8
"""Frames a second."""

DRAWN = Origin("shapes", "none needed", "", "drawn by `aurora demo`; nothing of the published subset of this name")


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
        *captions("shapes_1", first, talk_every=TALK_EVERY),
        *captions("shapes_2", second, talk_every=TALK_EVERY),
    ]

    subset = partial(_subset, folder)
    subset("projection", "densefusion", captions("shapes_1", first), "densefusion", first_tar, [0.5, 0.3])
    subset("projection", "sharegpt4v", captions("shapes_2", second), "coco_segm_text", second_tar, [0.41])
    subset("vision", "m3it", [*captions("shapes_2", second, talk_every=1), *texts(60)], "m3it", second_tar, [0.41])
    subset("vision", "laion", captions("shapes_1", first), "laion", first_tar, [0.5, 0.3])
    subset("language", "llava_mix", mixed, "vg", both_tar, [0.2, 0.37])
    subset("language", "sharegpt4video_caption", frame_lists(moving[files:]), "panda", lists_tar, [0.3, 0.3, 0.17])
    subset("language", "miradata", video_files(moving[:files]), "miradata", videos_tar, [0.6])
    subset("language", "evol", texts(60))
    drawn = {path.relative_to(folder).as_posix(): (DRAWN,) for path in sorted(folder.glob("*/*"))}
    DownloadManifest(repo="aurora demo", revision="", commit="", files=(), settings={}, terms=drawn).write_into(folder)


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
    records: Iterable[JsonObject],
    archive: str = "",
    tar: bytes = b"",
    cuts: Sequence[float] = (),
) -> None:
    """Annotations and the archive, cut into parts at these shares of its length."""
    target = folder / split / subset
    lines = (json.dumps({"id": f"{subset}-{number:05d}", **record}) for number, record in enumerate(records))
    write_text(target / f"{subset}.jsonl", "".join(f"{line}\n" for line in lines))
    if not archive:
        return
    start = 0
    ends = [start := start + int(share * len(tar)) for share in cuts]
    for number, (begin, end) in enumerate(zip([0, *ends], [*ends, len(tar)], strict=True)):
        (target / f"{archive}.tar.gz.part_{number:03d}").write_bytes(tar[begin:end])


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
        yield f"{prefix}/{number:05d}.png", png(draw(scene)[0])


def _frame_members(scenes: Sequence[Scene]) -> Iterable[tuple[str, bytes]]:
    for number, scene in enumerate(scenes):
        for frame, image in enumerate(draw(scene)):
            yield f"frames/{number:05d}/{frame}.png", png(image)


def _video_members(scenes: Sequence[Scene]) -> Iterable[tuple[str, bytes]]:
    for number, scene in enumerate(scenes):
        yield f"videos/{number:05d}.mp4", encode_video(draw(scene, VIDEO_FILE_FRAMES))


def png(image: Image.Image) -> bytes:
    """A PNG file of this image."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)  # of a second of all frames, the usual level takes half
    return buffer.getvalue()
