"""What counts as a right word, worked by hand."""

from pathlib import Path

import pytest
from PIL import Image

from aurora_cli.demo import report
from aurora_cli.demo.drawing import IMAGE_ATTRIBUTES, VIDEO_ATTRIBUTES
from aurora_cli.demo.truth import TrueMedium, read_truth, write_test_media
from aurora_cli.errors import DataError
from aurora_cli.runs.lines import append_lines
from tests.run_files import metrics_line

TRUTH = [
    TrueMedium("a", "", {"shape": "circle", "colour": "red", "place": "top left"}),
    TrueMedium("b", "", {"shape": "square", "colour": "blue", "place": "centre"}),
]


@pytest.mark.parametrize(
    ("caption", "attribute", "word"),
    [
        ("A red circle at the top left.", "place", "top left"),
        ("A RED Circle", "colour", "red"),
        ("A red circle at the left.", "place", None),
        ("A red or blue circle.", "colour", None),
        ("A red circle circle moves right.", "motion", "right"),
        ("Covered in something", "colour", None),
        ("", "shape", None),
    ],
)
def test_one_word_of_an_attribute_is_named_or_none(caption: str, attribute: str, word: str | None) -> None:
    assert report.named_word(caption, attribute) == word


def test_accuracy_is_the_share_of_right_words_and_the_blank_image_is_measured_by_the_same_truth() -> None:
    captions = {"a": "A red square at the top left.", "b": "A blue square at the centre."}
    measured = report.accuracy(TRUTH, captions, "A red circle at the centre.", IMAGE_ATTRIBUTES)
    assert measured.right == {"shape": 0.5, "colour": 1.0, "place": 1.0}
    assert measured.blank == {"shape": 0.5, "colour": 0.5, "place": 0.5}
    assert measured.mean == pytest.approx(2.5 / 3)


def test_a_missing_caption_is_wrong() -> None:
    assert report.accuracy(TRUTH, {}, "", IMAGE_ATTRIBUTES).mean == 0.0


def test_the_table_has_a_row_for_every_attribute_with_the_blank_beside() -> None:
    images = report.Accuracy({"shape": 0.9, "colour": 1.0, "place": 0.8}, dict.fromkeys(IMAGE_ATTRIBUTES, 0.25))
    videos = report.Accuracy(dict.fromkeys(VIDEO_ATTRIBUTES, 0.5), dict.fromkeys(VIDEO_ATTRIBUTES, 0.25))
    rows = "\n".join(report.table(images, videos))
    for words in (("images, place", "80%", "25%"), ("images, all", "90%", "25%"), ("videos, motion", "50%")):
        line = next(line for line in rows.splitlines() if words[0] in line)
        assert all(word in line for word in words)


@pytest.mark.slow
def test_the_contact_sheet_shows_images_and_videos(tmp_path: Path) -> None:
    write_test_media(tmp_path, 3)
    images, videos = read_truth(tmp_path)
    captions = {each.media: each.caption for each in images}
    report.contact_sheet(tmp_path / "captions.png", tmp_path, [*images, *videos], captions)
    with Image.open(tmp_path / "captions.png") as sheet:
        assert len(sheet.getcolors(1 << 24) or ()) > 50


@pytest.mark.slow
def test_the_loss_plot_is_an_image(tmp_path: Path) -> None:
    for stage in ("one", "two"):
        (tmp_path / stage).mkdir()
        append_lines(tmp_path / stage / "metrics.jsonl", map(metrics_line, range(1, 5)))
    report.loss_plot(tmp_path / "loss.png", {stage: tmp_path / stage for stage in ("one", "two")})
    with Image.open(tmp_path / "loss.png") as plot:
        assert plot.width > 500


def test_a_damaged_truth_is_named(tmp_path: Path) -> None:
    for content in ("{", "[3]", '[{"media": "a"}]'):
        (tmp_path / "truth.json").write_text(content)
        with pytest.raises(DataError, match=r"truth\.json: is not the demo's"):
            read_truth(tmp_path)
