"""What of an evaluation stands in training data, found in every form that the data may have."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aurora_cli.config.settings import EvaluateSettings, Settings
from aurora_cli.errors import DataError
from aurora_cli.evaluation.contamination import looks
from aurora_cli.evaluation.contamination.found import Contamination
from aurora_cli.evaluation.contamination.looks import can_look
from aurora_cli.evaluation.stored import Evaluation
from aurora_cli.pipeline.evaluate.command import run
from aurora_cli.pipeline.evaluate.result import EvaluateResult
from aurora_cli.pipeline.merge_shards import run as merge_shards
from aurora_cli.pipeline.tokenize.command import run as tokenize
from tests import tokenizing

needs_imagehash = pytest.mark.skipif(
    not can_look(), reason="imagehash is not installed: pip install 'aurora-cli[evaluate]'"
)

REFERENCES = {"a.png": "A red dog, running!", "b.png": "Two cats.", "c.png": "A boat at sea."}


def scene(seed: int) -> Image.Image:
    """Smooth colours and two boxes: as different from another as two photographs are."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        (320, 240), Image.Resampling.BICUBIC
    )
    for _ in range(2):
        left, top = (int(each) for each in rng.integers(0, 200, 2))
        image.paste(tuple(int(each) for each in rng.integers(0, 256, 3)), (left, top, left + 90, top + 40))
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An evaluation of three images, and a folder `data` with training images of other names."""
    (tmp_path / "data").mkdir()
    for seed, (name, text) in enumerate(REFERENCES.items()):
        scene(seed).save(tmp_path / name)
        with (tmp_path / "r.jsonl").open("a") as file:
            file.write(json.dumps({"id": name, "references": [text, "else"]}) + "\n")
        with (tmp_path / "c.jsonl").open("a") as file:
            file.write(json.dumps({"media": name, "caption": f"a caption of {name[0]}"}) + "\n")
    (tmp_path / "data" / "same.png").write_bytes((tmp_path / "a.png").read_bytes())
    scene(1).resize((200, 150)).save(tmp_path / "data" / "small.jpg", quality=40)
    scene(9).save(tmp_path / "data" / "other.png")
    records = [
        record("r0", "same.png", "a RED  dog running"),
        record("r1", "small.jpg", "A caption of B!"),
        record("r2", "other.png", "A boat at the sea."),
        record("r3", "nowhere.png", "Nothing."),
    ]
    (tmp_path / "data" / "x.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records) + "{torn\n")
    return tmp_path


def record(name: str, image: str, answer: str) -> dict[str, object]:
    turns = [{"from": "human", "value": "<image>\nTwo cats."}, {"from": "gpt", "value": answer}]
    return {"id": name, "image": image, "conversations": turns}


def checked(folder: Path, *data: str, **values: object) -> Contamination:
    given = {"captions": "c.jsonl", "references": "r.jsonl", "tokenizer": "python", "resamples": 100, **values}
    settings = EvaluateSettings.model_validate({**given, "check_contamination": data})
    result = run(Settings(workspace=folder, evaluate=settings))
    assert isinstance(result, EvaluateResult)
    assert result.exit_code == 0
    assert Evaluation.read(folder / "evaluation" / "c" / "evaluation.json").contamination == result.contamination
    assert result.contamination is not None
    assert {*result.contamination.lines()} <= {*result.lines()}
    return result.contamination


def ids(leaks: object) -> list[tuple[str, str]]:
    return [(leak.id, leak.what) for leak in leaks]


def test_annotations_are_looked_through_and_a_question_is_no_training_caption(folder):
    contamination = checked(folder, "data/x.jsonl")
    found = contamination.found
    assert (found.records, found.unread_records, found.training_media, found.unread_media) == (5, 1, 4, 1)
    assert ids(found.equal_media) == [("a.png", "same.png")]
    assert found.equal_media[0].found == "data/x.jsonl:1"
    assert ids(found.equal_references) == [("a.png", "a RED  dog running")]
    assert ids(found.equal_captions) == [("b.png", "A caption of B!")]
    shown = "\n".join(contamination.lines())
    assert "1 of 3 media are there byte for byte\n    a.png: same.png (data/x.jsonl:1)" in shown
    assert "not read: 1 records, 1 images and videos of the data" in shown


@needs_imagehash
def test_an_image_that_was_made_smaller_and_compressed_again_is_found(folder):
    contamination = checked(folder, "data/x.jsonl")
    assert contamination.has_looked
    assert ids(contamination.found.near_media) == [("b.png", "small.jpg")]


def test_without_imagehash_it_says_that_looks_are_not_compared(folder, monkeypatch):
    monkeypatch.setattr("aurora_cli.pipeline.evaluate.contamination.can_look", lambda: False)
    contamination = checked(folder, "data/x.jsonl")
    assert not contamination.has_looked
    assert contamination.found.near_media == ()
    assert len(contamination.found.equal_media) == 1
    assert "looks are not compared" in contamination.lines()[-2]


def test_tokenized_data_say_the_same_as_the_annotations_that_they_were_made_from(folder):
    file = folder / "data" / "vision" / "own" / "x.jsonl"
    file.parent.mkdir(parents=True)
    records = [json.loads(line) for line in (folder / "data" / "x.jsonl").read_text().splitlines()[:4]]
    file.write_text("".join(json.dumps({**each, "image": f"../../{each['image']}"}) + "\n" for each in records))
    tokenize(tokenizing.settings(folder))
    plain = checked(folder, str(file), near_images=False).found
    before = checked(folder, "tokenized", near_images=False).found
    merge_shards(tokenizing.merge_settings(folder))
    for data in ("tokenized", "tokenized/vision/own", "tokenized/vision/own/merged"):
        found = checked(folder, data, near_images=False).found
        assert (ids(found.equal_media), ids(found.equal_captions)) == (
            ids(plain.equal_media),
            ids(plain.equal_captions),
        )
        assert ids(found.equal_references) == ids(plain.equal_references) == ids(before.equal_references)
        assert (found.records, found.training_media, found.unread_media) == (4, 4, 1)
        assert found.equal_media[0].found.endswith(": r0")


def test_captions_in_a_table_and_several_data_are_looked_through(folder):
    (folder / "data" / "t.csv").write_text("image,caption\nother.png,two cats\n")
    found = checked(folder, "data/x.jsonl", "data/t.csv").found
    assert ids(found.equal_references) == [("a.png", "a RED  dog running"), ("b.png", "two cats")]
    assert found.records == 6


def test_media_that_are_not_here_are_named_and_another_file_of_that_name_is_not_taken(folder):
    (folder / "c.jsonl").write_text('{"media": "val/a.png", "caption": "x"}\n{"media": "b.png", "caption": "y"}\n')
    contamination = checked(folder, "data/x.jsonl")
    assert contamination.found.not_here == ()  # the references call it a.png, beside them
    (folder / "r.jsonl").write_text('{"id": "val/a.png", "references": ["x"]}\n{"id": "b.png", "references": ["x"]}\n')
    contamination = checked(folder, "data/x.jsonl")
    assert contamination.found.not_here == ("val/a.png",)
    assert contamination.found.equal_media == ()
    assert "1 media of the evaluation are not here, and not compared: val/a.png" in "\n".join(contamination.lines())


def test_data_that_are_not_there_are_an_error(folder):
    with pytest.raises(DataError, match="nowhere: is not there"):
        checked(folder, "nowhere")


@needs_imagehash
def test_what_shows_nothing_looks_like_nothing():
    black = [Image.new("RGB", (100, 100), colour) for colour in ("black", "white", (90, 20, 20))]
    assert looks._look(black) == []


@needs_imagehash
def test_colours_count():
    red, blue = (Image.new("RGB", (128, 128), "white") for _ in range(2))
    red.paste((200, 0, 0), (20, 30, 90, 100))
    blue.paste((0, 0, 200), (20, 30, 90, 100))
    near = looks.Near([looks._look([red])])
    assert near.like(looks._look([red.resize((64, 64))])) == [0]
    assert near.like(looks._look([blue])) == []


@needs_imagehash
def test_two_frames_of_a_video_must_agree_where_it_has_two():
    first, second, third, other = (looks._look([scene(seed)]) for seed in range(4))
    near = looks.Near([[*first, *second, *third], [*other]])
    assert near.like([*first, *second]) == [0]
    assert near.like([*first, *other]) == [1]  # an image that is a frame of the video
    assert near.like(first) == [0]


@needs_imagehash
@pytest.mark.slow
def test_photographs_are_found_scaled_and_compressed_and_no_other_is():
    """scikit-image's photographs: each at half its size in poor JPEG is found, and is like no other."""
    import io

    data = pytest.importorskip("skimage.data")
    names = ("astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry", "camera", "coins", "page", "text")
    photos = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in names]
    near = looks.Near([looks._look([photo]) for photo in photos])
    for number, photo in enumerate(photos):
        file = io.BytesIO()
        photo.resize((photo.width // 2, photo.height // 2)).save(file, "JPEG", quality=30)
        assert near.like(looks.image_look(file.getvalue(), "x.jpg")) == [number], names[number]
