"""`aurora import` of files as data sets are published: what a row of each becomes, by hand."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aurora_cli.errors import UsageError
from aurora_cli.evaluation.references import read_references
from tests.importing import imported, make_media, pair, records, rejects

VIDEO = b"\0\0\0\x18ftypmp42"


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with media; `e.mp4` is the video."""
    make_media(tmp_path / "s")
    return tmp_path / "s"


def jpeg() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 6)).save(content, "JPEG")
    return content.getvalue()


def test_times_that_are_called_timestamps_are_the_part_of_the_video(tmp_path: Path, source: Path) -> None:
    row = {"YoutubeID": "e", "Start_timestamp": "00:00:19.795", "End_timestamp": "00:00:25.868", "Caption": "A person."}
    result = imported(tmp_path, lines(source / "InternVid.jsonl", row, row))
    assert "the times are parts of the videos (--whole-videos: they are cut already)" in " ".join(result.sources)
    assert [record["span"] for record in records(tmp_path)] == [[19.795, 25.868]]


def test_columns_that_look_like_times_and_are_not_read_are_named(tmp_path: Path, source: Path) -> None:
    row = {"video": "e.mp4", "description": "She walks.", "times": [[2, 3]], "num_segments": 6, "start_frame": 0}
    result = imported(tmp_path, lines(source / "didemo.jsonl", row), dry_run=True)
    assert "NOT read, that look as if they were times: 'times', 'start_frame'" in " ".join(result.sources)
    pictures = lines(source / "pictures.jsonl", {"image": "a.jpg", "caption": "A.", "time": "noon", "start": "?"})
    result = imported(tmp_path, pictures, dry_run=True)
    assert ("NOT read" in " ".join(result.sources), result.kept) == (False, 1), "an image has no parts"


def test_the_number_of_a_right_choice_is_no_caption(tmp_path: Path, source: Path) -> None:
    table = source / "nextqa.csv"
    table.write_text("video,question,answer,a0,a1,a2\ne,Why?,2,x,y,because\n")
    with pytest.raises(UsageError, match="'answer' may only say which of 'a0', 'a1', 'a2' is right"):
        imported(tmp_path, table)
    imported(tmp_path, table, text_column="answer")
    assert pair(records(tmp_path)[0]) == ("e.mp4", "2")


def test_questions_and_answers_of_one_letter(tmp_path: Path, source: Path) -> None:
    imported(tmp_path, lines(source / "VideoInstruct.jsonl", {"q": "What?", "a": "A cat.", "video_id": "e"}))
    turns = records(tmp_path)[0]["conversations"]
    assert [turn["value"] for turn in turns] == ["<video>\nWhat?", "A cat."]
    with pytest.raises(UsageError, match="which column names the captions"):
        imported(tmp_path, lines(source / "letters.jsonl", {"a": "A cat.", "b": "B.", "video_id": "e"}), name="b")


@pytest.mark.parametrize("ending", [".jsonl", ".jsonlines", ".ndjson"])
def test_a_file_of_one_row_is_a_row_though_it_holds_a_list(ending: str, tmp_path: Path, source: Path) -> None:
    row = {"video_name": "e.mp4", "caption": "A red line.", "qa_list": [{"question": "What?", "answer": "A line."}]}
    imported(tmp_path, lines(source / f"vdc{ending}", row))
    assert pair(records(tmp_path)[0]) == ("e.mp4", "A red line.")


@pytest.mark.parametrize("images", [["a.jpg"], [{"path": "a.jpg", "bytes": None}], [{"bytes": jpeg(), "path": None}]])
def test_a_list_of_one_image_is_that_image(images: list[Any], tmp_path: Path, source: Path) -> None:
    table = source / "list.parquet"
    pq.write_table(pa.table({"images": [images, images * 2], "caption": ["One.", "Two."]}), table)
    result = imported(tmp_path, table)
    assert [record["conversations"][1]["value"] for record in records(tmp_path)] == ["One."]
    assert result.rejected == {"bad_media": 1}, "a caption is about one"


def test_images_that_img2dataset_saved_as_files_are_a_folder_of_texts(tmp_path: Path) -> None:
    folder = tmp_path / "s/00000"
    make_media(folder)
    (folder / "a.txt").write_text("A dog.")
    pq.write_table(pa.table({"url": ["https://x/a.jpg"], "caption": ["A dog."]}), tmp_path / "s/00000.parquet")
    imported(tmp_path, tmp_path / "s")
    assert [pair(record)[1] for record in records(tmp_path)] == ["A dog."]


def test_what_says_which_columns_there_are_is_no_second_source(tmp_path: Path, source: Path) -> None:
    turns = [{"role": "user", "content": "<image>Who?"}, {"role": "assistant", "content": "They."}]
    (source / "mllm_demo.json").write_text(json.dumps([{"messages": turns, "images": ["a.jpg"]}]))
    about = {"mllm_demo": {"file_name": "mllm_demo.json", "columns": {"messages": "messages", "images": "images"}}}
    (source / "dataset_info.json").write_text(json.dumps(about))
    imported(tmp_path, source)
    assert len(records(tmp_path)) == 1


def test_addresses_in_a_table_are_said_to_be_saved_first(tmp_path: Path, source: Path) -> None:
    with pytest.raises(UsageError) as refused:
        imported(tmp_path, lines(source / "pixmo.jsonl", {"image_url": "https://x/1.jpg", "caption": "A dog."}))
    assert "('image_url') are to be saved as files first" in str(refused.value.hint)


def test_a_path_among_the_words_of_a_question_is_not_passed_over(tmp_path: Path, source: Path) -> None:
    turns = [
        {"from": "user", "value": "Picture 1: <img>a.jpg</img>\nWhat?"},
        {"from": "assistant", "value": "A dog."},
    ]
    tag = [{"from": "user", "value": "What is the tag <img> for?"}, {"from": "assistant", "value": "Images."}]
    result = imported(tmp_path, lines(source / "qwen.jsonl", {"conversations": turns}, {"conversations": tag}))
    assert (result.kept, result.rejected) == (1, {"image_count": 1})
    assert "'<img>a.jpg</img>': <image> in its place" in rejects(tmp_path)[0]["detail"]


def test_a_start_beside_a_length_is_refused_without_an_end(tmp_path: Path, source: Path) -> None:
    row = {"video": "e.mp4", "start": 3, "duration": 5, "caption": "A."}
    with pytest.raises(UsageError, match="'start' without an end, beside 'duration'"):
        imported(tmp_path, lines(source / "audio.jsonl", row))
    imported(tmp_path, lines(source / "ends.jsonl", {**row, "end": 8}))
    assert records(tmp_path)[0]["span"] == [3.0, 8.0]


def test_the_splits_among_the_parts_of_a_table_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "s/data"
    folder.mkdir(parents=True)
    table = pa.table({"image": [{"bytes": jpeg(), "path": None}], "caption": ["A."]})
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        pq.write_table(table, folder / f"{name}.parquet")
    assert "in 3 files, splits test, train;" in " ".join(imported(tmp_path, tmp_path / "s", dry_run=True).sources)


CHATS = {
    "llava-onevision": {
        "id": "1",
        "image": {"bytes": jpeg(), "path": "x.jpg"},
        "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A."}],
    },
    "cauldron": {
        "images": [{"bytes": jpeg(), "path": None}],
        "texts": [{"user": "What?", "assistant": "A.", "source": "x"}],
    },
    "alpaca": {"instruction": "What?", "input": "", "output": "A.", "images": [{"bytes": jpeg(), "path": None}]},
    "bytes": {"query": "What?", "response": "A.", "image": jpeg()},
    "paths": {"query": "What?", "response": "A.", "images": ["a.jpg"]},
}


@pytest.mark.parametrize("name", CHATS)
def test_a_parquet_table_of_conversations_is_read(name: str, tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    pq.write_table(pa.Table.from_pylist([CHATS[name], CHATS[name]]), tmp_path / "s/part.parquet")
    result = imported(tmp_path, tmp_path / "s")
    assert (result.kept, result.rejected) == (1, {"duplicate": 1})
    record = records(tmp_path)[0]
    assert [turn["value"] for turn in record["conversations"]] == ["<image>\nWhat?", "A."]
    with Image.open(tmp_path / "data/vision/own" / record["image"]) as image:
        assert image.size == (8, 6)
    assert ("embedded" in record["image"]) == (name != "paths")


def test_several_images_of_a_row_are_written_out_each(tmp_path: Path) -> None:
    other = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(other, "PNG")
    images = [{"bytes": content, "path": None} for content in (jpeg(), other.getvalue())]
    row = {"images": images, "texts": [{"user": "Same?", "assistant": "No."}]}
    (tmp_path / "s").mkdir()
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "s/part.parquet")
    imported(tmp_path, tmp_path / "s")
    assert [Path(path).suffix for path in records(tmp_path)[0]["image"]] == [".jpg", ".png"]


def test_images_in_cells_without_names_are_different_media_as_references(tmp_path: Path) -> None:
    cell = {"bytes": jpeg(), "path": None}
    table = tmp_path / "refs.parquet"
    pq.write_table(pa.table({"id": ["x", "y"], "image": [cell, cell], "caption": ["One.", "Two."]}), table)
    assert read_references(table).texts == [["One."], ["Two."]]
    pq.write_table(pa.Table.from_pylist([{"id": name, **CHATS["cauldron"]} for name in "xy"]), table)
    assert [names[0] for names in read_references(table).names] == ["x", "y"]


@pytest.mark.parametrize("times", [{"start time": 137.7, "end time": 149.4}, {"start": 3, "duration": 5}, {"end": "?"}])
def test_captions_of_videos_that_are_cut_already_are_about_all_of_them(
    times: dict[str, Any], tmp_path: Path, source: Path
) -> None:
    table = lines(source / "cut.jsonl", {"video": "e.mp4", "caption": "A car.", **times})
    imported(tmp_path, table, whole_videos=True)
    assert "span" not in records(tmp_path)[0]
    turns = [{"from": "human", "value": "<video>"}, {"from": "gpt", "value": "A car."}]
    chat = lines(source / "chat.jsonl", {"video": "e.mp4", "start": 1, "end": 2, "conversations": turns})
    imported(tmp_path, chat, name="chat", whole_videos=True)
    assert "span" not in records(tmp_path, "chat")[0]


def test_an_import_before_there_was_the_setting_is_the_same(tmp_path: Path, source: Path) -> None:
    table = lines(source / "cut.jsonl", {"video": "e.mp4", "caption": "A car.", "start": 1, "end": 2})
    imported(tmp_path, table)
    manifest = tmp_path / "data/vision/own/import.json"
    content = json.loads(manifest.read_text())
    assert content["settings"].pop("whole_videos") is False
    manifest.write_text(json.dumps(content))
    assert imported(tmp_path, table).done_before
    with pytest.raises(UsageError, match="was imported with whole_videos False"):
        imported(tmp_path, table, whole_videos=True)


@pytest.mark.parametrize("copy_files", [False, True])
@pytest.mark.parametrize("before", ["/home/me/data/", "C:\\data\\", "/"])
def test_paths_of_another_machine_are_found_where_they_are_here(
    before: str, copy_files: bool, tmp_path: Path, source: Path
) -> None:
    (source / "val").mkdir()
    for folder in (source / "val", source / "sub"):
        Image.new("RGB", (2 if folder.name == "val" else 3, 6)).save(folder / "x.jpg")
    names = [before + path for path in ("val/x.jpg", "sub/x.jpg", "sub/gone.jpg")]
    result = imported(
        tmp_path,
        lines(source / "own.jsonl", *({"image": name, "caption": name} for name in names)),
        copy_files=copy_files,
    )
    assert result.rejected == {"missing_media": 1}
    assert f"which stands for {before}".replace("\\", "/") in " ".join(result.sources)
    widths = []
    for record in records(tmp_path):
        with Image.open(tmp_path / "data/vision/own" / record["image"]) as image:
            widths.append(image.width)
    assert widths == [2, 3], "of two files of one name each is found in its folder"


@pytest.mark.parametrize("other", ["/mnt/other/a.jpg", "/home/me/elsewhere/a.jpg", "D:\\a.jpg", "a.jpg"])
def test_a_path_that_begins_otherwise_does_not_hide_where_most_are(other: str, tmp_path: Path, source: Path) -> None:
    names = [other, *(f"/home/me/data/{name}" for name in ("a.jpg", "b c.png", "sub/x.jpg"))]
    Image.new("RGB", (3, 6)).save(source / "sub/x.jpg")
    result = imported(tmp_path, lines(source / "own.jsonl", *({"image": name, "caption": name} for name in names)))
    assert result.kept == (4 if other == "a.jpg" else 3)
    assert "which stands for /home/me/data/" in " ".join(result.sources)


def test_a_folder_of_a_name_alone_is_no_place(tmp_path: Path, source: Path) -> None:
    gone = [{"image": f"/data/{name}.jpg", "caption": name} for name in ("n1", "n2", "a")]
    assert imported(tmp_path, lines(source / "own.jsonl", *gone)).rejected == {"missing_media": 3}


def test_rows_of_every_split_are_said_to_be_taken_and_can_be_chosen(tmp_path: Path, source: Path) -> None:
    table = source / "docci.csv"
    table.write_text("split,image,caption\ntrain,a.jpg,A.\ntest,a.jpg,B.\n")
    about = imported(tmp_path, table, dry_run=True).sources
    assert "rows of every 'split' (--rows split=VALUE takes some)" in " ".join(about)
    result = imported(tmp_path, table, rows="split=train")
    assert (pair(records(tmp_path)[0])[1], result.rejected) == ("A.", {"other_rows": 1})
    parquet = source / "docci.parquet"
    pq.write_table(pa.table({"split": ["train", "test"], "image": ["a.jpg"] * 2, "caption": ["A.", "B."]}), parquet)
    imported(tmp_path, parquet, rows="split=test", name="parquet")
    assert [pair(record)[1] for record in records(tmp_path, "parquet")] == ["B."]
    with pytest.raises(UsageError, match=r"--rows part: .* has no such column"):
        imported(tmp_path, table, rows="part=train", name="none")


def test_karpathys_images_of_a_test_can_be_left_out(tmp_path: Path, source: Path) -> None:
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": f"{split}."}]}
        for name, split in (("a.jpg", "train"), ("b c.png", "test"))
    ]
    (source / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    assert "images of every 'split'" in " ".join(imported(tmp_path, source / "dataset_coco.json", dry_run=True).sources)
    result = imported(tmp_path, source / "dataset_coco.json", rows="split=train")
    assert (pair(records(tmp_path)[0]), result.rejected) == (("a.jpg", "train."), {"other_rows": 1})


def test_rows_of_what_has_no_columns_cannot_be_chosen(tmp_path: Path, source: Path) -> None:
    (source / "a.txt").write_text("A.")
    with pytest.raises(UsageError, match=r"--rows .*: all rows of .* are taken"):
        imported(tmp_path, source, rows="split=train")


def test_a_list_of_captions_in_a_cell_is_no_conversation(tmp_path: Path, source: Path) -> None:
    table = source / "part.parquet"
    pq.write_table(pa.Table.from_pylist([{"image": "a.jpg", "captions": [{"caption": "A.", "id": 1}]}]), table)
    imported(tmp_path, table)
    assert pair(records(tmp_path)[0]) == ("a.jpg", "A.")


@pytest.mark.parametrize("asking", ["prompt", "question", "query"])
def test_a_response_answers_what_stands_beside_it(asking: str, tmp_path: Path, source: Path) -> None:
    imported(tmp_path, lines(source / "own.jsonl", {"image": "a.jpg", asking: "What?", "response": "A dog."}))
    assert [turn["value"] for turn in records(tmp_path)[0]["conversations"]] == ["<image>\nWhat?", "A dog."]


@pytest.mark.parametrize("dry_run", [False, True])
def test_where_media_are_can_be_said_where_most_are_missing(dry_run: bool, tmp_path: Path, source: Path) -> None:
    rows = [{"image": f"train2014/{number}.jpg", "caption": "A."} for number in range(3)]
    result = imported(
        tmp_path, lines(source / "own.jsonl", *rows, {"image": "a.jpg", "caption": "A."}), dry_run=dry_run
    )
    assert "  most media are not there, as train2014/0.jpg: --media-root DIR says where they are" in result.lines()
    few = [{"image": name, "caption": name} for name in ("a.jpg", "b c.png", "gone.jpg")]
    shown = imported(tmp_path, lines(source / "few.jsonl", *few), name="few", dry_run=dry_run).lines()
    assert not any("--media-root" in line for line in shown)


def test_an_empty_caption_in_a_list_costs_no_other(tmp_path: Path, source: Path) -> None:
    table = lines(source / "own.jsonl", {"image": "a.jpg", "caption": ["One.", None, "Two.", " "]})
    result = imported(tmp_path, table)
    assert [(record["id"][-2:], pair(record)[1]) for record in records(tmp_path)] == [("#0", "One."), ("#2", "Two.")]
    assert (result.read, result.rejected) == (4, {"no_caption": 2})
    assert read_references(table).texts == [["One.", "Two."]]
    (source / "vatex.json").write_text(json.dumps([{"videoID": "e", "enCap": ["", "A line."]}]))
    assert imported(tmp_path, source / "vatex.json", name="vatex").rejected == {"no_caption": 1}
