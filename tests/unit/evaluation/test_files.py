"""Captions and references in the forms that people have, and which belongs to which."""

import json
from pathlib import Path

import pytest

from aurora_cli.errors import DataError
from aurora_cli.evaluation.captions import CaptionOf, read_captions
from aurora_cli.evaluation.matching import match
from aurora_cli.evaluation.references import ReferenceSet, read_references


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def test_lines_that_hold_no_caption_are_listed_with_their_reasons(tmp_path):
    found = read_captions(
        lines(tmp_path / "c.jsonl", {"id": 3, "caption": "A dog."}, "{torn", {"caption": "x"}, {"id": 4}, [1])
    )
    assert found.captions == [CaptionOf(("3",), "A dog.")]
    assert [(each.line, each.reason.split(":")[0].split(";")[0]) for each in found.unreadable] == [
        (2, "is no JSON"),
        (3, "names nothing it is about"),
        (4, "has no text"),
        (5, "is no object"),
    ]


def test_captions_in_csv(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text('video,caption\nclips/a.mp4,"Two, or three."\n')
    (caption,) = read_captions(path).captions
    assert caption.text == "Two, or three."
    assert caption.names == ("clips/a.mp4", "a.mp4", "a")


def test_a_caption_is_cut_where_it_has_as_many_tokens_as_the_settings_beside_the_file_allow(tmp_path):
    path = lines(
        tmp_path / "c.jsonl",
        {"media": "a.jpg", "caption": "x", "new_tokens": 12},
        {"media": "b.jpg", "caption": "y", "new_tokens": 11},
        {"media": "c.jpg", "caption": "z"},
    )
    (tmp_path / "c.jsonl.settings.json").write_text('{"decoding": {"max_new_tokens": 12}}')
    assert [caption.is_cut for caption in read_captions(path).captions] == [True, False, None]


@pytest.mark.parametrize("rows", [(), ("{",)])
def test_a_file_without_captions_is_an_error(tmp_path, rows):
    with pytest.raises(DataError, match="holds no caption"):
        read_captions(lines(tmp_path / "c.jsonl", *rows))


def test_references_on_several_lines_of_an_id_are_its_references(tmp_path):
    path = lines(
        tmp_path / "r.jsonl",
        {"id": "a", "references": ["one", "two"]},
        {"id": "b", "references": "alone"},
        {"id": "a", "references": ["three"]},
        {"id": "c", "references": []},
    )
    found = read_references(path)
    assert (found.names, found.texts) == ([("a",), ("b",)], [["one", "two", "three"], ["alone"]])
    assert [each.line for each in found.unreadable] == [4]


def test_cocos_annotations_are_known_by_the_images_id_and_by_its_file(tmp_path):
    coco = {
        "images": [{"id": 391895, "file_name": "COCO_val2014_000000391895.jpg"}],
        "annotations": [{"image_id": 391895, "id": 1, "caption": "A man."}, {"image_id": 391895, "caption": "Red."}],
    }
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(coco))
    references = read_references(path)
    assert references.texts == [["A man.", "Red."]]
    for name in ({"image_id": 391895}, {"media": "val2014/COCO_val2014_000000391895.jpg"}):
        captions = read_captions(lines(tmp_path / "c.jsonl", {**name, "caption": "A man."})).captions
        assert match(captions, references).references == [["A man.", "Red."]]


def test_what_import_reads_is_references(tmp_path):
    table = tmp_path / "captions.csv"
    table.write_text("image,caption\na.jpg,One.\na.jpg,Two.\nb.jpg,Three.\n")
    assert read_references(table).texts == [["One.", "Two."], ["Three."]]
    talk = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A dog."}]
    record = lines(tmp_path / "own.jsonl", {"id": "r7", "image": "x/d.jpg", "conversations": talk})
    found = read_references(record)
    assert found.texts == [["A dog."]]
    assert {"r7", "d.jpg"} <= {*found.names[0]}


def test_parts_of_a_video_that_end_in_one_second_are_two(tmp_path):
    dense = tmp_path / "train.json"
    times = [[0.83, 19.2], [0.83, 19.86]]
    dense.write_text(json.dumps({"v_a": {"duration": 82.7, "timestamps": times, "sentences": ["One.", "Two."]}}))
    rows = ({"media": "v_a.mp4", "span": span, "caption": str(span[1])} for span in times)
    matched = match(read_captions(lines(tmp_path / "c.jsonl", *rows)).captions, read_references(dense))
    assert matched.references == [["One."], ["Two."]]
    assert [caption.text for caption in matched.captions] == ["19.2", "19.86"]
    other = lines(tmp_path / "other.jsonl", {"media": "v_a.mp4", "span": [0.83, 19.5], "caption": "x"})
    assert match(read_captions(other).captions, read_references(dense)).captions_alone == ["v_a.mp4@0.83-19.5"]


def sets(captions: list[tuple[str, ...]], references: list[tuple[str, ...]]) -> tuple[list[CaptionOf], ReferenceSet]:
    return (
        [CaptionOf(names, str(number)) for number, names in enumerate(captions)],
        ReferenceSet(references, [[str(number)] for number in range(len(references))], []),
    )


def test_every_caption_and_every_medium_is_matched_or_named(tmp_path):
    matched = match(*sets([("a", "x"), ("c",), ("b",)], [("b",), ("x",), ("d",)]))
    assert (matched.names, [caption.text for caption in matched.captions]) == (["b", "a"], ["2", "0"])
    assert (matched.captions_alone, matched.references_alone) == (["c"], ["d"])


def test_a_name_that_two_media_share_is_not_gone_by():
    captions, references = sets(
        [("images/1.png", "1.png", "1"), ("videos/1.mp4", "1.mp4", "1")],
        [("images/1.png", "1.png", "1"), ("videos/1.mp4", "1.mp4", "1"), ("other/1.jpg", "1.jpg", "1")],
    )
    matched = match(captions, references)
    assert matched.references == [["0"], ["1"]]
    assert matched.references_alone == ["other/1.jpg"]


def test_a_second_caption_of_a_medium_is_named_and_not_taken():
    matched = match(*sets([("a",), ("a",)], [("a",)]))
    assert [caption.text for caption in matched.captions] == ["0"]
    assert matched.captions_alone == ["a"]


def test_a_part_of_a_video_is_not_the_video(tmp_path):
    whole = {"media": "v.mp4", "caption": "all of it"}
    part = {"media": "v.mp4", "span": [3.0, None], "caption": "its end"}
    captions = read_captions(lines(tmp_path / "c.jsonl", whole, part)).captions
    _, references = sets([], [("v.mp4",), ("v.mp4@3-",)])
    assert match(captions, references).references == [["0"], ["1"]]
