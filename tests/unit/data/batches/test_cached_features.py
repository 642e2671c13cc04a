"""Features instead of pixels in what a loader's worker reads: looked for first, and never those of another medium."""

import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.data.archives.build_index import build_index
from aurora_cli.data.archives.finding.parts import find_archives
from aurora_cli.data.batches import row_media
from aurora_cli.data.batches.by_epoch import read_by_epoch
from aurora_cli.data.batches.collator import Batch, TrainingSample, collate
from aurora_cli.data.batches.corpus import WeightedStore
from aurora_cli.data.batches.row_media import Medium, media_of
from aurora_cli.data.batches.selection import PackBudget
from aurora_cli.data.batches.training_data import BatchPlan, TrainingData
from aurora_cli.data.features.cache import FeatureCache
from aurora_cli.data.features.space import FeatureForm
from aurora_cli.data.features.writer import FeatureWriter
from aurora_cli.data.media.decoders.sampling import Sampling
from aurora_cli.data.media.reader import MediaReader
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.token_store.store import Row
from aurora_cli.errors import DataError
from aurora_cli.models.merge_plan import FrameTokenCounts

WriteClip = Callable[[Path, Sequence[Image.Image]], None]
WriteStore = Callable[..., None]
TOKENS = FrameTokenCounts(merged=2, first=3)
FORM = FeatureForm(width=4, precision="fp32")
MEAN = (0.5, 0.5, 0.5)


def reader_of(folder: Path, **changes: Any) -> MediaReader:
    return MediaReader(MediaRoot(folder), 28, MEAN, **changes)


def image(path: Path, level: int, size: int = 20) -> None:
    """A BMP, whose size in bytes does not depend on what it shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, 16), (level,) * 3).save(path, "BMP")


def row(number: int, **media: Any) -> Row:
    lengths = media.get("media_lengths", [])
    ids = np.array([-200] * sum(lengths) + [1, 2, 3], np.int32)
    labels = np.where(ids == 3, 3, -100).astype(np.int32)
    return Row(f"r{number}", media.get("image"), media.get("video"), lengths, ids, labels, media.get("span"))


ROWS = [
    row(0),
    row(1, image=["0.bmp"], media_lengths=[1]),
    row(2, image=["1.bmp", "0.bmp"], media_lengths=[1, 1]),
    row(3, image=["0.bmp", "1.bmp"], media_lengths=[2]),
    row(4, video="video.avi", media_lengths=[2]),
    row(5, image=["2.bmp"], video="frames", media_lengths=[1, 2]),
    row(6, video="video.avi", media_lengths=[2], span=(0.0, 0.2)),
]
"""A text, an image, two images, a video as a list, one as a file, an image beside a folder of frames, a span."""


@pytest.fixture
def workspace(tmp_path: Path, write_store: WriteStore, write_video: WriteClip) -> Path:
    for number in range(3):
        image(tmp_path / f"media/{number}.bmp", 40 * number)
        image(tmp_path / f"media/frames/{number}.bmp", 50 * number)
    write_video(tmp_path / "media/video.avi", [Image.new("RGB", (32, 24), (level,) * 3) for level in (9, 90, 150, 210)])
    write_store(tmp_path / "merged", ROWS)
    return tmp_path


def data_of(workspace: Path, features: FeatureCache | None, **changes: Any) -> TrainingData:
    plan = BatchPlan(PackBudget(40, 8), 28, MEAN, MEAN, global_batch_packs=1, **changes)
    stores = [WeightedStore(workspace / "merged", workspace)]
    return TrainingData(stores, plan, token_counts=TOKENS, image_token_id=9, features=features)


def keep(cache: FeatureCache, batches: list[Batch], writer: FeatureWriter) -> None:
    """What a run does, with a tower that makes of a medium its key."""
    for batch in batches:
        if batch.media_lengths is None or batch.media_keys is None:
            continue
        for media_key, length in zip(batch.media_keys, batch.media_lengths.tolist(), strict=True):
            if media_key is not None and cache.features([media_key])[0] is None:
                writer.append(media_key, memoryview(features_of(media_key, length)))


def features_of(media_key: bytes, length: int) -> bytes:
    tokens = sum(TOKENS.per_frame([length]))
    return np.resize(np.frombuffer(media_key, np.uint8).astype(np.float32), tokens * FORM.width).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["packed", "padded"])
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_what_is_kept_is_read_and_no_pixel_of_it(
    workers: int, batching: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other field of the batches is what it is without features."""
    plain = [batch for step in data_of(workspace, None, batching=batching).batches(0, 1) for batch in step]
    cache = FeatureCache(workspace / "features", FORM)
    cache.folder.mkdir()
    first = [batch for step in data_of(workspace, cache, batching=batching).batches(0, 1) for batch in step]
    for one, other in zip(plain, first, strict=True):
        for name in Batch._fields[:-3]:
            a, b = getattr(one, name), getattr(other, name)
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    writer = FeatureWriter(cache.folder, 1 << 30)
    keep(cache, first, writer)
    writer.close()
    monkeypatch.setattr(Medium, "pixels", lambda *_: pytest.fail("a pixel was read"))
    again = [
        batch for step in data_of(workspace, cache, batching=batching, workers=workers).batches(0, 1) for batch in step
    ]
    assert len(again) == len(first)
    for one, other in zip(first, again, strict=True):
        assert other.media_keys == one.media_keys
        if other.media_lengths is None or one.media_keys is None:
            assert other.features is None
            continue
        assert other.pixel_values is not None
        assert other.is_cached is not None
        assert other.features is not None
        assert other.pixel_values.shape == (0, 3, 28, 28)
        assert other.is_cached.tolist() == [True] * int(other.media_lengths.sum())
        lengths = other.media_lengths.tolist()
        expected = b"".join(features_of(k or b"", n) for k, n in zip(one.media_keys, lengths, strict=True))
        assert other.features.numpy().tobytes() == expected
        assert torch.equal(one.input_ids, other.input_ids)
        assert torch.equal(one.labels, other.labels)


def test_what_is_kept_of_a_sample_and_what_is_not_stand_in_their_order(workspace: Path) -> None:
    cache = FeatureCache(workspace / "features", FORM)
    cache.folder.mkdir()
    media = media_of(ROWS[5])
    reader = reader_of(workspace / "media")
    key = media[1].key(reader)
    assert key is not None
    writer = FeatureWriter(cache.folder, 1 << 30)
    writer.append(key, memoryview(features_of(key, 2)))
    writer.close()
    (sample,) = replace(data_of(workspace, None).reader, features=cache).pack(np.array([5]))
    assert sample.frames is not None
    assert sample.frames.shape == (1, 28, 28, 3)
    assert [one is None for one in sample.features] == [True, False]
    batch = collate([[sample]], image_token_id=9, token_counts=TOKENS, form=FORM)
    assert batch.is_cached is not None
    assert batch.is_cached.tolist() == [False, True, True]
    assert batch.media_keys == [media[0].key(reader), key]


def test_features_of_another_number_of_tokens_are_no_features_of_it(workspace: Path) -> None:
    cache = FeatureCache(workspace / "features", FORM)
    cache.folder.mkdir()
    key = media_of(ROWS[1])[0].key(reader_of(workspace / "media"))
    assert key is not None
    writer = FeatureWriter(cache.folder, 1 << 30)
    writer.append(key, memoryview(features_of(key, 1)[:-4]))
    writer.close()
    (sample,) = replace(data_of(workspace, None).reader, features=cache).pack(np.array([1]))
    assert sample.features == (None,)
    assert sample.frames is not None
    assert len(sample.frames) == 1


def test_media_that_differ_in_anything_have_keys_of_their_own(workspace: Path) -> None:
    """Files, order, number of frames, span, and how frames are selected; `fps` only where it counts."""
    media = workspace / "media"
    video = Medium(2, [], "video.avi")
    kinds = [
        Medium(1, ["0.bmp"]), Medium(1, ["1.bmp"]), Medium(2, ["0.bmp", "1.bmp"]), Medium(2, ["1.bmp", "0.bmp"]),
        video, video._replace(frames=3), video._replace(span=(0.0, 0.2)), video._replace(span=(0.0, 0.3)),
        Medium(1, [], "0.bmp"), Medium(2, [], "frames"), Medium(3, [], "frames"),
    ]  # fmt: skip
    keys = {one.key(reader_of(media)) for one in kinds}
    keys |= {video.key(reader_of(media, sampling=Sampling(rule))) for rule in ("uniform", "fps")}
    keys |= {video.key(reader_of(media, sampling=Sampling("fps", 2.0)))}
    assert None not in keys
    assert len(keys) == len(kinds) + 3
    assert video.key(reader_of(media)) == video.key(reader_of(media, sampling=Sampling("timestamp", 2.0)))
    assert Medium(1, ["none.bmp"]).key(reader_of(media)) is None
    assert Medium(2, [], "none").key(reader_of(media)) is None


def changed_with_its_times(path: Path) -> None:
    """Another image of the same size, and the time of the one before."""
    before = path.stat()
    image(path, 222)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_with_its_times(path: Path) -> None:
    other = path.with_suffix(".new")
    image(other, 222)
    before = path.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [changed_with_its_times, replaced_with_its_times])
def test_a_file_that_is_changed_has_another_key_even_with_its_size_and_time_set_back(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    image(tmp_path / "0.bmp", 100)
    image(tmp_path / "frames/0.bmp", 100)
    media = [Medium(1, ["0.bmp"]), Medium(1, [], "0.bmp"), Medium(1, [], "frames")]
    before = [one.key(reader_of(tmp_path)) for one in media]
    assert before == [one.key(reader_of(tmp_path)) for one in media]
    change(tmp_path / "0.bmp")
    change(tmp_path / "frames/0.bmp")
    after = [one.key(reader_of(tmp_path)) for one in media]
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_a_frame_more_in_a_folder_is_another_video_where_it_is_taken(tmp_path: Path) -> None:
    for number in range(3):
        image(tmp_path / f"frames/{number}.bmp", 10)
    video = Medium(3, [], "frames")
    before = video.key(reader_of(tmp_path))
    (tmp_path / "frames/note.txt").write_text("no frame")
    assert video.key(reader_of(tmp_path)) == before
    image(tmp_path / "frames/3.bmp", 10)
    assert video.key(reader_of(tmp_path)) != before


def test_what_is_written_out_in_a_record_is_known_by_what_it_is(tmp_path: Path) -> None:
    one, other = (Medium(1, [f"data:image/gif;base64,R0lGODlh{end}"]) for end in ("AAAA", "AAAB"))
    assert one.key(reader_of(tmp_path)) not in (None, other.key(reader_of(tmp_path)))


def test_a_member_of_an_archive_is_known_by_the_archive_and_its_bytes(tmp_path: Path) -> None:
    media = tmp_path / "media"

    def make(level: int) -> list[bytes | None]:
        image(tmp_path / "a.bmp", level)
        media.mkdir(exist_ok=True)
        with tarfile.open(media / "a.tar", "w") as tar:
            for name in ("a.bmp", "b.bmp"):
                tar.add(tmp_path / "a.bmp", name)
        for archive in find_archives([media / "a.tar"]):
            build_index(archive, media, settings=ExtractSettings(layout="index", sync=False), advance=lambda *_: None)
        return [Medium(1, [name]).key(reader_of(media)) for name in ("a.bmp", "b.bmp", "c.bmp")]

    first = make(10)
    assert first[2] is None
    assert len({*first}) == 3
    assert [Medium(1, [name]).key(reader_of(media)) for name in ("a.bmp", "b.bmp")] == first[:2]
    shutil.rmtree(media)
    assert not {*make(200)[:2]} & {*first}


def test_a_file_that_changes_while_it_is_read_is_not_kept(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Medium.pixels

    def pixels(medium: Medium, media: MediaReader) -> np.ndarray:
        found = real(medium, media)
        image(workspace / "media/0.bmp", 240)
        return found

    monkeypatch.setattr(row_media.Medium, "pixels", pixels)
    cache = FeatureCache(workspace / "features", FORM)
    (sample,) = replace(data_of(workspace, None).reader, features=cache).pack(np.array([1]))
    assert sample.keys == (None,)
    assert sample.failure is None


def test_of_a_sample_that_cannot_be_read_nothing_is_kept(workspace: Path) -> None:
    (workspace / "media/1.bmp").write_bytes(b"nothing")
    cache = FeatureCache(workspace / "features", FORM)
    reader = data_of(workspace, None).reader
    (with_features,) = replace(reader, features=cache).pack(np.array([2]))
    (without,) = reader.pack(np.array([2]))
    assert with_features.failure == without.failure
    assert with_features.keys == ()
    batch = collate([[with_features]], image_token_id=9, token_counts=TOKENS, form=FORM)
    assert batch.media_keys == [None, None]


def test_a_row_whose_files_do_not_fit_its_tokens_is_damaged() -> None:
    damaged = row(0, image=["0.bmp"], media_lengths=[1, 1])
    with pytest.raises(DataError, match="r0: 1 frames, where its tokens have placeholders for 2"):
        media_of(damaged)
    assert media_of(ROWS[5]) == [Medium(1, ["2.bmp"]), Medium(2, [], "frames")]
    assert media_of(ROWS[3]) == [Medium(2, ["0.bmp", "1.bmp"])]
    assert media_of(ROWS[0]) == []


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_features_come_out_in_the_precision_that_they_were_kept_in(precision: Any) -> None:
    form = FeatureForm(3, precision)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    kept = torch.arange(6, dtype=dtype)
    content = kept.view(torch.uint8).numpy()
    frames = np.zeros((0, 28, 28, 3), np.uint8)
    sample = TrainingSample(0, "a", ROWS[1].input_ids, ROWS[1].labels, [1], frames, keys=(b"k",), features=(content,))
    batch = collate([[sample]], image_token_id=9, token_counts=TOKENS, form=form)
    assert batch.features is not None
    assert torch.equal(batch.features, kept.view(2, 3))


def test_reading_goes_ahead_to_the_end_of_an_epoch_as_long_as_features_come() -> None:
    """Four epochs of three steps; in the first all are missing, then some, then none."""
    missing = {0: 3, 1: 1, 2: 0, 3: 0}
    asked: list[range] = []

    def read(steps: range) -> Any:
        asked.append(steps)
        for step in steps:
            flags = torch.tensor([True] * (3 - missing[step // 3]) + [False] * missing[step // 3])
            yield [type("B", (), {"is_cached": flags})()]

    assert len(list(read_by_epoch(read, range(1, 12), lambda step: (step // 3 + 1) * 3))) == 11
    assert asked == [range(1, 3), range(3, 6), range(6, 9), range(9, 12)]
    missing, asked[:] = {0: 2, 1: 2, 2: 2, 3: 2}, []
    assert len(list(read_by_epoch(read, range(12), lambda step: (step // 3 + 1) * 3))) == 12
    assert asked == [range(0, 3), range(3, 6), range(6, 12)]
