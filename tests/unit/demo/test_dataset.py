"""The demo's mirror: the published layout with its oddities, the same bytes every time."""

import hashlib
import io
import json
import random
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from aurora_cli.constants import STAGES
from aurora_cli.data.download.mirror_source import MirrorSource
from aurora_cli.data.media.decoders.sampling import evenly_spaced
from aurora_cli.data.media.reader import load_frames
from aurora_cli.demo.dataset import DRAWN, VIDEO_FILE_FRAMES, encode_video, write_mirror
from aurora_cli.demo.drawing import FRAMES, SIDE, draw, video_scene
from aurora_cli.demo.truth import write_test_media

IMAGES, VIDEOS = 12, 10


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    write_mirror(folder, images=IMAGES, videos=VIDEOS)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def part_sets(mirror: Path) -> dict[Path, list[Path]]:
    sets: dict[Path, list[Path]] = {}
    for part in sorted(mirror.rglob("*.tar.gz.part_*")):
        sets.setdefault(part.with_suffix("").with_suffix("").with_suffix(""), []).append(part)
    return sets


def records(mirror: Path) -> dict[str, list[dict]]:
    return {
        path.stem: [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for path in mirror.glob("*/*/*.jsonl")
    }


def test_the_same_numbers_draw_the_same_bytes(mirror: Path, tmp_path: Path) -> None:
    write_mirror(tmp_path, images=IMAGES, videos=VIDEOS)
    assert contents(tmp_path) == contents(mirror)


def test_it_is_laid_out_as_published(mirror: Path) -> None:
    assert {path.name for path in mirror.iterdir()} == {*STAGES, "download.json"}
    for folder in mirror.glob("*/*"):
        assert (folder / f"{folder.name}.jsonl").is_file()


def test_the_licences_of_the_published_subsets_are_not_taken_for_its_own(mirror: Path) -> None:
    source = MirrorSource(mirror)
    subsets = {file.subset for file in source.files()}
    assert len(subsets) == 8
    assert {origin for subset in subsets for origin in source.origins(subset)} == {DRAWN}


def test_archives_are_odd_as_the_published_ones_are(mirror: Path) -> None:
    sets = part_sets(mirror)
    assert any(len({part.stat().st_size for part in parts}) > 1 for parts in sets.values())
    assert all(len(parts) > 1 and part_numbers(parts) == list(range(len(parts))) for parts in sets.values())
    assert any(archive.name != archive.parent.name for archive in sets)
    whole = Counter(hashlib.sha256(b"".join(p.read_bytes() for p in parts)).hexdigest() for parts in sets.values())
    assert whole.most_common(1)[0][1] == 2


def part_numbers(parts: list[Path]) -> list[int]:
    return [int(part.name.rpartition("_")[2]) for part in parts]


def test_every_medium_that_is_named_is_in_the_archive_beside_it(mirror: Path) -> None:
    for archive, parts in part_sets(mirror).items():
        stream = io.BytesIO(b"".join(part.read_bytes() for part in parts))
        with tarfile.open(fileobj=stream, mode="r:gz") as tar:
            members = {member.name for member in tar}
        lines = (archive.parent / f"{archive.parent.name}.jsonl").read_text("utf-8").splitlines()
        for record in map(json.loads, lines):
            image = record.get("image") or []
            named = [image] if isinstance(image, str) else image
            assert set(named) | ({record["video"]} if "video" in record else set()) <= members


def test_records_are_of_every_kind(mirror: Path) -> None:
    kinds = Counter()
    for name, rows in records(mirror).items():
        for record in rows:
            texts = [turn["value"] for turn in record["conversations"]]
            image = record.get("image")
            kinds["video of frames"] += isinstance(image, list) and texts[0].count("<image>") == len(image) == FRAMES
            kinds["video file"] += "video" in record and texts[0].count("<video>") == 1
            kinds["text"] += image is None and "video" not in record
            kinds["talk"] += len(texts) > 2
            kinds["image"] += isinstance(image, str) and texts[0].startswith("<image>\n")
        assert len({record["id"] for record in rows}) == len(rows), name
    assert set(kinds) == {"video of frames", "video file", "text", "talk", "image"}
    assert min(kinds.values()) > 0


def test_a_video_file_decodes_into_the_drawn_frames(tmp_path: Path) -> None:
    assert list(evenly_spaced(VIDEO_FILE_FRAMES, FRAMES)) == [1, 4, 7]  # the middles of thirds, as `draw` has them
    scene = video_scene(random.Random(3))
    (tmp_path / "clip.mp4").write_bytes(encode_video(draw(scene, VIDEO_FILE_FRAMES)))
    frames_F3SS = load_frames(tmp_path / "clip.mp4", FRAMES, SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    drawn = np.stack([np.asarray(image, np.float32) for image in draw(scene)])
    difference = np.abs(frames_F3SS.permute(0, 2, 3, 1).numpy() * 255 - drawn)
    assert difference.mean() < 4  # levels of 255; half the chroma's resolution is lost at the edges


def test_test_media_are_not_trained_on_and_what_is_true_of_them_is_written_down(mirror: Path, tmp_path: Path) -> None:
    write_test_media(tmp_path, 4)
    truth = json.loads((tmp_path / "truth.json").read_text("utf-8"))
    assert [entry["media"] for entry in truth] == [
        *(f"images/{number:04d}.png" for number in range(4)),
        *(f"videos/{number:04d}.mp4" for number in range(4)),
    ]
    trained = set()
    for parts in part_sets(mirror).values():
        with tarfile.open(fileobj=io.BytesIO(b"".join(part.read_bytes() for part in parts)), mode="r:gz") as tar:
            trained |= {hashlib.sha256(tar.extractfile(member).read()).hexdigest() for member in tar.getmembers()}
    assert not trained & set(contents(tmp_path).values())
    for entry in truth:
        words = ("shape", "colour", "place" if "place" in entry else "motion")
        assert all(entry[word] in entry["caption"] for word in words)
