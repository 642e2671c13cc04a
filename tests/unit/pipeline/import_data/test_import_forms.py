"""`aurora import` of the forms that say more than a medium and a caption: each against what one would write by hand."""

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aurora_cli.data.importing.questions import IMAGE_QUESTIONS, VIDEO_QUESTIONS
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.errors import DataError, UsageError
from aurora_cli.pipeline.import_data.result import ImportResult
from tests.importing import MEDIA, MISSING, imported, make_media, pair, records, rejects, what_is_kept
from tests.run_files import json_lines

SETS = settings(max_examples=20)
CAPTIONS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda text: text.strip()[:1] != "[")
LINES = CAPTIONS.filter(lambda text: "\n" not in text and "\r" not in text)
NAMES = st.sampled_from((*MEDIA, *MISSING))
CHAT = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]
VIDEOS = ("v_1", "v_2", "gone")
SECONDS = st.one_of(st.floats(-2, 12).map(lambda value: round(value, 1)), st.just("00:00:03.5"), st.none())


@contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """A workspace, and a source with media."""
    with tempfile.TemporaryDirectory() as folder:
        make_media(Path(folder, "source"))
        for name in VIDEOS[:2]:
            Path(folder, "source", f"{name}.webm").write_bytes(b"\x1aE\xdf\xa3")
        yield Path(folder, "w"), Path(folder, "source")


def check_counts(result: ImportResult, workspace: Path, read: int, kept: int) -> None:
    assert (result.read, result.kept) == (read, kept)
    assert len(records(workspace)) == kept
    assert len(rejects(workspace)) == sum(result.rejected.values()) == read - kept


def test_a_folder_of_texts(tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    (tmp_path / "s/a.txt").write_text("\ufeffTwo lines\nof one caption.\n", "utf-8")
    (tmp_path / "s/b c.json").write_text(json.dumps({"width": 8, "Caption": ["First.", "Second."]}))
    (tmp_path / "s/e.mp4.txt").write_bytes("Größe".encode("latin-1"))
    (tmp_path / "s/sub/lonely.txt").write_text("No image.")
    result = imported(tmp_path / "w", tmp_path / "s")
    assert list(map(pair, records(tmp_path / "w"))) == [
        ("a.jpg", "Two lines\nof one caption."),
        ("b c.png", "First."),
        ("b c.png", "Second."),
    ]
    assert result.rejected == {"bad_unicode": 1, "no_caption": 1, "missing_media": 1}
    lines = imported(tmp_path / "w", tmp_path / "s", name="lines", caption_lines=True, encoding="latin-1")
    assert (lines.kept, lines.read) == (5, 7)


@pytest.mark.slow
@SETS
@given(texts=st.dictionaries(st.sampled_from(MEDIA), st.lists(CAPTIONS, max_size=3), min_size=1))
def test_every_medium_of_a_folder_is_kept_or_listed(texts: dict[str, list[str]]) -> None:
    with folders() as (workspace, source):
        for name, captions in texts.items():
            (source / name).with_suffix(".json").write_text(json.dumps(captions), "utf-8")
        whole = {name: captions for name, captions in texts.items() if any(one.strip() for one in captions)}
        rows = [(name, caption) for name, captions in whole.items() for caption in captions]
        without = len(MEDIA) + 2 - len(whole)
        expected = what_is_kept(rows)
        check_counts(imported(workspace, source), workspace, len(rows) + without, len(expected))
        assert sorted(map(pair, records(workspace))) == sorted(expected)


def test_folders_that_are_classes_are_refused_with_what_to_do(tmp_path: Path) -> None:
    for name in ("cats/1.jpg", "cats/2.jpg", "dogs/1.jpg"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).touch()
    with pytest.raises(DataError, match=r"in 2 folders \(cats, dogs\), and no captions") as caught:
        imported(tmp_path / "w", tmp_path / "pets")
    assert caught.value.hint is not None
    assert "a.jpg and a.txt" in caught.value.hint
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
@SETS
@given(rows=st.lists(st.tuples(NAMES, LINES), min_size=1, max_size=8))
def test_token_files(rows: list[tuple[str, str]]) -> None:
    with folders() as (workspace, source):
        lines = [f"{name}#{number}\t{caption}\n" for number, (name, caption) in enumerate(rows)]
        (source / "results.token").write_text("".join(lines), "utf-8", newline="")
        result = imported(workspace, source / "results.token")
        expected = what_is_kept(rows)
        check_counts(result, workspace, len(rows), len(expected))
        assert list(map(pair, records(workspace))) == expected


DENSE = st.dictionaries(
    st.sampled_from(VIDEOS),
    st.tuples(
        st.one_of(st.none(), st.floats(4, 10).map(lambda value: round(value, 1))),
        st.lists(st.tuples(st.tuples(SECONDS, SECONDS), CAPTIONS), max_size=4),
    ),
    min_size=1,
)


def dense_span(times: tuple[Any, Any], duration: float | None) -> tuple[float, float] | None:
    """What a part of a video is, worked out one by one; none: it is none."""
    if None in times:
        return None
    start, end = (3.5 if one == "00:00:03.5" else one for one in times)
    if duration is not None and end > duration:
        end = duration
    return (start, end) if 0 <= start < end else None


@pytest.mark.slow
@SETS
@given(videos=DENSE)
def test_dense_captions(videos: dict[str, tuple[float | None, list]]) -> None:
    with folders() as (workspace, source):
        content, expected, read = {}, [], 0
        for name, (duration, parts) in videos.items():
            length = {} if duration is None else {"duration": duration}
            content[name] = {
                **length,
                "timestamps": [part[0] for part in parts],
                "sentences": [part[1] for part in parts],
            }
            read += len(parts) or 1
            for times, caption in parts:
                span = dense_span(times, duration)
                row = (f"{name}.webm", caption.strip(), span)
                if name != "gone" and caption.strip() and span is not None and row not in expected:
                    expected.append(row)
        (source / "val_1.json").write_text(json.dumps(content))
        result = imported(workspace, source / "val_1.json")
        check_counts(result, workspace, read, len(expected))
        found = [(*pair(record), tuple(record["span"])) for record in records(workspace)]
        assert found == expected


def test_segments_of_youcook2_and_where_its_videos_are(tmp_path: Path) -> None:
    video = tmp_path / "s/raw_videos/training/101/abc.mkv"
    video.parent.mkdir(parents=True)
    video.touch()
    segments = [
        {"segment": [90, 102], "id": 0, "sentence": "Spread margarine."},
        {"segment": [5, 4], "sentence": "No."},
    ]
    entry = {"duration": 311.7, "subset": "training", "recipe_type": "101", "annotations": segments}
    (tmp_path / "s/youcookii.json").write_text(json.dumps({"database": {"abc": entry}}))
    result = imported(tmp_path / "w", tmp_path / "s/youcookii.json")
    assert (result.kept, result.rejected) == (1, {"bad_span": 1})
    assert records(tmp_path / "w")[0]["video"] == ".media/raw_videos/training/101/abc.mkv"
    assert records(tmp_path / "w")[0]["span"] == [90.0, 102.0]


@pytest.mark.slow
@SETS
@given(rows=st.lists(st.tuples(st.sampled_from(VIDEOS), CAPTIONS), min_size=1, max_size=8))
def test_msr_vtt(rows: list[tuple[str, str]]) -> None:
    with folders() as (workspace, source):
        sentences = [{"sen_id": at, "video_id": name, "caption": text} for at, (name, text) in enumerate(rows)]
        content = {"info": {}, "videos": [{"video_id": "v_1", "start time": 1.0}], "sentences": sentences}
        (source / "train_val.json").write_text(json.dumps(content))
        expected: list[tuple[str, str]] = []
        for name, caption in rows:
            row = (f"{name}.webm", caption.strip())
            if name != "gone" and caption.strip() and row not in expected:
                expected.append(row)
        check_counts(imported(workspace, source / "train_val.json"), workspace, len(rows), len(expected))
        assert list(map(pair, records(workspace))) == expected


def test_vatex(tmp_path: Path) -> None:
    (tmp_path / "v_000001_000011.mp4").touch()
    content = [
        {"videoID": "v_000001_000011", "enCap": ["One.", "Two."], "chCap": ["一"]},
        {"videoID": "x", "enCap": []},
    ]
    (tmp_path / "vatex.json").write_text(json.dumps(content))
    result = imported(tmp_path / "w", tmp_path / "vatex.json")
    assert [(record["id"], pair(record)[1]) for record in records(tmp_path / "w")] == [
        ("v_000001_000011#0", "One."),
        ("v_000001_000011#1", "Two."),
    ]
    assert result.rejected == {"no_caption": 1}


SHARDS = st.lists(
    st.lists(st.tuples(st.booleans(), st.one_of(st.none(), CAPTIONS)), max_size=4), min_size=1, max_size=2
)


@pytest.mark.slow
@SETS
@given(shards=SHARDS.filter(lambda shards: any(has and text is not None for has, text in shards[0][:1])))
def test_webdataset_tars_are_read_where_they_lie(shards: list[list[tuple[bool, str | None]]]) -> None:
    """Two tars have members of the same names; a row lacks its image or its text, or both, and then is no row."""
    with folders() as (workspace, source):
        content = (source / "a.jpg").read_bytes()
        tars = source / "tars"
        tars.mkdir()
        expected, read = [], 0
        for number, rows in enumerate(shards):
            with tarfile.open(tars / f"s-{number}.tar", "w") as tar:
                for row, (has_image, text) in enumerate(rows):
                    if has_image:
                        add(tar, f"{row:04}.jpg", content + bytes([number, row]))
                    if text is not None:
                        add(tar, f"{row:04}.txt", text.encode())
                    read += has_image or text is not None
                    if has_image and text and text.strip():
                        expected.append((f"s-{number}/{row:04}.jpg", text.strip(), content + bytes([number, row])))
        before = {path: path.stat().st_mtime_ns for path in [tars, *tars.iterdir()]}
        check_counts(imported(workspace, tars), workspace, read, len(expected))
        root = MediaRoot(workspace / "data/vision/own")
        found = records(workspace)
        assert [
            (one["image"].removeprefix(".media/"), pair(one)[1], root.read(one["image"])) for one in found
        ] == expected
        assert {path: path.stat().st_mtime_ns for path in [tars, *tars.iterdir()]} == before
        assert not expected or imported(workspace, tars).done_before


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def test_a_text_of_a_tar_may_have_words_before_its_suffix(tmp_path: Path) -> None:
    image = io.BytesIO()
    Image.new("RGB", (8, 6)).save(image, "PNG")
    members = {"1.image.png": image.getvalue(), "1.caption.txt": b"One.", "2.png": image.getvalue(), "2.a.txt": b"A."}
    members |= {"2.b.txt": b"B.", "3.png": image.getvalue(), "3.txt": b"Three.", "3.long.txt": b"Longer."}
    (tmp_path / "s").mkdir()
    with tarfile.open(tmp_path / "s/a.tar", "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    result = imported(tmp_path / "w", tmp_path / "s", source_format="webdataset")
    assert [record["conversations"][1]["value"] for record in records(tmp_path / "w")] == ["One.", "Three."]
    assert result.rejected == {"no_caption": 1}, "2: several"


def test_a_tar_that_breaks_off_gives_what_is_whole_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with tarfile.open(tmp_path / "s/x.tar", "w") as tar:
        for number in range(3):
            add(tar, f"{number}.jpg", b"\xff\xd8\xff" + bytes(3000))
            add(tar, f"{number}.txt", b"A caption.")
    whole = (tmp_path / "s/x.tar").read_bytes()
    (tmp_path / "s/x.tar").write_bytes(whole[: 2 * 5120 + 1000])  # in the third image
    result = imported(tmp_path / "w", tmp_path / "s/x.tar")
    assert (result.kept, result.rejected.get("broken_archive")) == (2, 1)
    assert result.read == result.kept + sum(result.rejected.values())


def test_a_compressed_tar_is_written_out_once(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with tarfile.open(tmp_path / "s/x.tar.gz", "w:gz") as tar:
        add(tar, "0.jpg", b"\xff\xd8\xffhello")
        add(tar, "0.json", b'{"caption": "A caption."}')
    imported(tmp_path / "w", tmp_path / "s/x.tar.gz")
    assert MediaRoot(tmp_path / "w/data/vision/own").read(".media/x/0.jpg") == b"\xff\xd8\xffhello"
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["x.tar.gz"]


def test_archives_of_an_import_are_left_to_it_by_extract(tmp_path: Path) -> None:
    from aurora_cli.config.settings import ExtractSettings, Settings
    from aurora_cli.pipeline.extract.command import run as extract

    (tmp_path / "s").mkdir()
    with tarfile.open(tmp_path / "s/x.tar", "w") as tar:
        add(tar, "0.jpg", b"\xff\xd8\xffhello")
        add(tar, "0.txt", b"A caption.")
    imported(tmp_path / "w", tmp_path / "s")
    make_media(tmp_path / "s2")
    (tmp_path / "s2/a.txt").write_text("A.")
    (tmp_path / "s2/theirs.tar").write_bytes((tmp_path / "s/x.tar").read_bytes())
    imported(tmp_path / "w", tmp_path / "s2", name="two")
    with pytest.raises(DataError, match="no archives"):
        extract(Settings(workspace=tmp_path / "w", extract=ExtractSettings()))
    assert sorted(path.name for path in (tmp_path / "s2").iterdir()) == [
        "a.jpg",
        "a.txt",
        "b c.png",
        "e.mp4",
        "sub",
        "theirs.tar",
    ]


CONTENTS = [b"\xff\xd8\xff1", b"\x89PNG\r\n\x1a\n2", b"\0\0\0\x18ftypmp42", b"what?", None]


@pytest.mark.slow
@SETS
@given(rows=st.lists(st.tuples(st.sampled_from(CONTENTS), CAPTIONS), min_size=1, max_size=6))
def test_media_in_the_cells_of_a_table(rows: list[tuple[bytes | None, str]]) -> None:
    with folders() as (workspace, source):
        cells = [None if content is None else {"bytes": content, "path": None} for content, _ in rows]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({"image": pa.array(cells, kind), "caption": [caption for _, caption in rows]})
        pq.write_table(table, source / "t.parquet")
        expected: list[tuple[bytes, str]] = []
        for content, caption in rows:
            row = (content or b"", caption.strip())
            if content not in (None, b"what?") and caption.strip() and row not in expected:
                expected.append(row)
        check_counts(imported(workspace, source / "t.parquet"), workspace, len(rows), len(expected))
        root = MediaRoot(workspace / "data/vision/own")
        found = [
            (root.read(one.get("image") or one["video"]), one["conversations"][1]["value"])
            for one in records(workspace)
        ]
        assert found == expected


@pytest.mark.slow
def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    import datasets

    make_media(tmp_path)
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.List(datasets.Value("string"))})
    rows = {"image": [str(tmp_path / "a.jpg"), str(tmp_path / "b c.png")], "caption": [["One.", "Two."], ["Three."]]}
    split = datasets.Dataset.from_dict(rows, features=features).map(lambda row: row)  # which takes the bytes in
    datasets.DatasetDict({"train": split, "test": split.select([1]).flatten_indices()}).save_to_disk(tmp_path / "saved")
    result = imported(tmp_path / "w", tmp_path / "saved")
    assert (result.read, result.kept, result.rejected) == (4, 3, {"duplicate": 1})
    root = MediaRoot(tmp_path / "w/data/vision/own")
    assert [root.read(one["image"]) for one in records(tmp_path / "w")][::2] == [
        (tmp_path / "a.jpg").read_bytes(),
        (tmp_path / "b c.png").read_bytes(),
    ]


TURNS = st.lists(st.tuples(CAPTIONS, st.booleans()), min_size=1, max_size=3)


@pytest.mark.slow
@SETS
@given(rows=st.lists(st.tuples(st.one_of(st.none(), NAMES), TURNS), min_size=1, max_size=6))
def test_conversations_are_taken_over_as_they_are(rows: list[tuple[str | None, list[tuple[str, bool]]]]) -> None:
    with folders() as (workspace, source):
        lines, expected, seen = ["not JSON"], [], []
        for number, (name, turns) in enumerate(rows):
            key = "video" if name is not None and name.endswith(".mp4") else "image"
            mark = {None: "", "video": "<video>\n"}.get(name and key, "<image>\n")
            talk = []
            for at, (text, is_target) in enumerate(turns):
                talk += [{"from": "human", "value": f"{'' if at else mark}{text}?"}]
                talk += [{"from": "gpt", "value": text, **({} if is_target else {"weight": 0})}]
            media = {} if name is None else {key: name}
            lines.append(json.dumps({"id": number, **media, "conversations": talk}))
            if name not in MISSING and (name, talk) not in seen:
                seen.append((name, talk))
                linked = {} if name is None else {key: f".media/source/{name}"}
                expected.append({"id": str(number), **linked, "conversations": talk})
        (source / "chat.jsonl").write_text("\n".join(lines))
        check_counts(
            imported(workspace, source / "chat.jsonl", source_format="llava"), workspace, len(lines), len(expected)
        )
        assert records(workspace) == expected


def test_an_image_of_several_that_lies_on_the_other_side_is_listed(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(40)]
    for name in names:
        (tmp_path / name).touch()
    turns = [{"from": "human", "value": "<image><image>\nDiffer?"}, {"from": "gpt", "value": "Yes."}]
    pairs = [{"image": [first, second], "conversations": turns} for first, second in pairwise(names)]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    result = imported(tmp_path / "w", tmp_path / "pairs.json", validation=0.5)
    trained = {path for record in records(tmp_path / "w") for path in record["image"]}
    back = json_lines(tmp_path / "w/validation/vision/own/own.jsonl")
    validated = {path for record in back for path in record["image"]}
    assert trained
    assert validated
    assert not trained & validated
    assert result.rejected["split_between"] == 39 - len(records(tmp_path / "w")) - len(back)


def test_columns_of_webvid_and_panda(tmp_path: Path) -> None:
    (tmp_path / "videos/000001_000050").mkdir(parents=True)
    (tmp_path / "videos/000001_000050/1066674784.mp4").touch()
    (tmp_path / "webvid.csv").write_text(
        "videoid,contentUrl,duration,page_dir,name\n"
        "1066674784,https://x/y.mp4,PT00H00M11S,000001_000050,Travel blogger\n"
    )
    (tmp_path / "pandas").mkdir()
    (tmp_path / "pandas/--7gNTX3wPA.mp4").touch()
    (tmp_path / "panda.csv").write_text(
        "videoID,url,timestamp,caption,matching_score\n"
        "--7gNTX3wPA,https://x,\"[['0:00:10.500', '0:00:12'], ['0:00:13', '0:00:20.1']]\","
        "\"['It is one.', 'Two.']\",\"[0.4, 0.5]\"\n"
        "--7gNTX3wPA,https://x,\"[['0:00:10.500', '0:00:12']]\",\"['It is one.', 'Two.']\",\"[0.4, 0.5]\"\n"
    )
    imported(tmp_path / "w", tmp_path / "webvid.csv")
    assert [pair(record) for record in records(tmp_path / "w")] == [("000001_000050/1066674784.mp4", "Travel blogger")]
    result = imported(tmp_path / "w", tmp_path / "panda.csv", name="panda")
    assert [(record["span"], pair(record)) for record in records(tmp_path / "w", "panda")] == [
        ([10.5, 12.0], ("--7gNTX3wPA.mp4", "It is one.")),
        ([13.0, 20.1], ("--7gNTX3wPA.mp4", "Two.")),
    ]
    assert result.rejected == {"bad_span": 1}


def test_a_column_of_questions_is_what_is_asked(tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    rows = ["a.jpg,How many?,Two.", "a.jpg,How big?,Two.", "a.jpg,<image> How big? ,Two.", "e.mp4,,A walk."]
    (tmp_path / "s/t.csv").write_text("\n".join(["image,question,answer", *rows]))
    result = imported(tmp_path / "w", tmp_path / "s/t.csv")
    turns = [[turn["value"] for turn in record["conversations"]] for record in records(tmp_path / "w")]
    assert turns[:2] == [["<image>\nHow many?", "Two."], ["<image>\nHow big?", "Two."]]
    assert turns[2][0].removeprefix("<video>\n") in VIDEO_QUESTIONS
    assert result.rejected == {"duplicate": 1}, "the third asks the same"


def test_a_prompt_is_asked_where_it_was_asked_and_may_be_what_an_image_was_drawn_from_elsewhere(tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    row = {"media": "a.jpg", "caption": "Two.", "prompt": "How many?"}
    for name, extra in (("captions", {"made_by": "ab"}), ("drawn", {})):
        (tmp_path / f"s/{name}.jsonl").write_text(json.dumps(row | extra))
    asked = {}
    for name, named in (("captions", {}), ("drawn", {}), ("named", {"question_column": "prompt"})):
        source = tmp_path / f"s/{name if name != 'named' else 'drawn'}.jsonl"
        imported(tmp_path / "w", source, name=name, **named)
        (record,) = records(tmp_path / "w", name)
        asked[name] = record["conversations"][0]["value"].removeprefix("<image>\n")
    assert asked["captions"] == asked["named"] == "How many?"
    assert asked["drawn"] in IMAGE_QUESTIONS


@pytest.mark.slow
@SETS
@given(st.dictionaries(NAMES, st.one_of(LINES, st.lists(LINES, max_size=3), LINES.map(lambda one: {"caption": one}))))
def test_captions_by_the_names_of_their_media(captions: dict[str, Any]) -> None:
    captions = {"a.jpg": "First.", **captions}
    rows = []
    for name, value in captions.items():
        listed = value if isinstance(value, list) else [value["caption"] if isinstance(value, dict) else value]
        rows += [(name, one) for one in listed or [""]]
    with folders() as (workspace, source):
        (source / "all.json").write_text(json.dumps(captions))
        result = imported(workspace, source / "all.json")
        kept = what_is_kept(rows)
        check_counts(result, workspace, len(rows), len(kept))
        assert list(map(pair, records(workspace))) == kept


def test_utf_16_without_a_mark_and_videos_among_images(tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    text = "image,caption\na.jpg,Größe\ne.mp4,A walk.\n"
    for encoding in ("utf-16-le", "utf-16-be"):
        (tmp_path / f"s/{encoding}.csv").write_bytes(text.encode(encoding))
        imported(tmp_path / "w", tmp_path / f"s/{encoding}.csv", name=encoding)
        assert list(map(pair, records(tmp_path / "w", encoding))) == [("a.jpg", "Größe"), ("e.mp4", "A walk.")]
        assert ["image" in record for record in records(tmp_path / "w", encoding)] == [True, False]


def test_a_table_without_rows_is_exit_3(tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    (tmp_path / "s/t.csv").write_text("image,caption\n")
    result = imported(tmp_path / "w", tmp_path / "s/t.csv")
    assert (result.exit_code, result.read, result.rejected) == (3, 0, {})
    assert "not written: there is no row" in result.lines()[0]


def test_a_conversation_that_nobody_answers_is_listed(tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    asked = {"messages": [{"role": "user", "content": "Is anybody there?"}]}
    answered = {"messages": [*asked["messages"], {"role": "assistant", "content": "Yes."}]}
    (tmp_path / "s/t.jsonl").write_text(f"{json.dumps(asked)}\n{json.dumps(answered)}\n")
    assert imported(tmp_path / "w", tmp_path / "s/t.jsonl").rejected == {"no_answer": 1}


def test_groups_of_conversations_stay(tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    record = {"id": "r", "image": "a.jpg", "group": "one place", "conversations": CHAT}
    (tmp_path / "s/t.jsonl").write_text(json.dumps(record))
    imported(tmp_path / "w", tmp_path / "s/t.jsonl")
    assert records(tmp_path / "w")[0]["group"] == "one place"


def test_columns_that_say_nothing_are_exit_2_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,start\na.jpg,A cat,2\n".replace("a.jpg", "pic"))
    with pytest.raises(UsageError, match="'a', 'b', 'start'") as caught:
        imported(tmp_path / "w", tmp_path / "t.csv")
    assert "--image-column NAME" in str(caught.value)
    (tmp_path / "pic.mp4").touch()
    imported(tmp_path / "w", tmp_path / "t.csv", video_column="a", text_column="b")
    assert records(tmp_path / "w")[0]["start"] == 2.0


@pytest.mark.parametrize(
    "content",
    [
        "image;caption\na.jpg;A; B\n".replace("A; B", '"A; B"'),
        'image\tcaption\na.jpg\t6" pipe\nsub/d.jpg\t"\n',
        "a.jpg,A cat\nsub/d.jpg,A dog\n",
        '"image","caption"\r\n"a.jpg","two\r\nlines"\r\n',
    ],
)
def test_tables_as_people_write_them(content: str, tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    (tmp_path / "s/t.csv").write_text(content, newline="")
    result = imported(tmp_path / "w", tmp_path / "s/t.csv")
    assert result.kept == result.read == content.count(".jpg")


def test_a_quote_that_does_not_end_costs_its_own_line_only(tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    (tmp_path / "s/t.csv").write_text('image,caption\na.jpg,One\na.jpg,"Two\na.jpg,Three\na.jpg,Four\n')
    result = imported(tmp_path / "w", tmp_path / "s/t.csv")
    assert [record["conversations"][1]["value"] for record in records(tmp_path / "w")] == ["One", "Three", "Four"]
    assert [(one["line"], one["reason"]) for one in rejects(tmp_path / "w")] == [(3, "bad_row")]
    assert result.read == 4


def test_other_encodings(tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    (tmp_path / "s/u.csv").write_text("image,caption\na.jpg,Größe\n", "utf-16")
    imported(tmp_path / "w", tmp_path / "s/u.csv", name="u")
    assert pair(records(tmp_path / "w", "u")[0])[1] == "Größe"
    (tmp_path / "s/l.csv").write_text("image,caption\na.jpg,Größe\na.jpg,Big\n", "latin-1")
    result = imported(tmp_path / "w", tmp_path / "s/l.csv", name="l")
    assert (result.kept, result.rejected) == (1, {"bad_unicode": 1})
    result = imported(tmp_path / "w", tmp_path / "s/l.csv", name="l", encoding="latin-1", force=True)
    assert (result.kept, pair(records(tmp_path / "w", "l")[0])[1]) == (2, "Größe")


def test_a_folder_with_one_table_is_that_table_and_with_two_it_is_unclear(tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    (tmp_path / "s/captions.csv").write_text("image,caption\na.jpg,A\n")
    assert imported(tmp_path / "w", tmp_path / "s").kept == 1
    (tmp_path / "s/more.csv").write_text("image,caption\na.jpg,A\n")
    with pytest.raises(UsageError, match=r"captions\.csv \(csv\), more\.csv \(csv\)"):
        imported(tmp_path / "w", tmp_path / "s", name="x")


def test_conversations_written_out_in_a_table_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "turns.parquet"
    pq.write_table(pa.table({"image": ["a.jpg"], "conversations": [json.dumps(CHAT)]}), table)
    with pytest.raises(UsageError, match=r"its column 'conversations' holds conversations, and not as lists of turns"):
        imported(tmp_path / "w", table)


def test_conversations_that_datasets_saved(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    image = make_gif()
    rows = [
        {"id": "a", "image": {"bytes": image, "path": "a.gif"}, "conversations": CHAT},
        {"id": "b", "image": None, "conversations": [{"from": "human", "value": "Why?"}, CHAT[1]]},
    ]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    imported(tmp_path / "w", tmp_path / "saved")
    first, second = records(tmp_path / "w")
    assert (tmp_path / "w/data/vision/own" / first["image"]).read_bytes() == image
    assert ([turn["value"] for turn in second["conversations"]], "image" in second) == (["Why?", "A cat."], False)


def make_gif() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "GIF")
    return buffer.getvalue()


def test_addresses_and_paths_outside(tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    (tmp_path / "s/deep").mkdir()
    outside = tmp_path / "elsewhere.jpg"
    outside.touch()
    names = [
        "https://x/a.jpg",
        str(outside),
        "../a.jpg",
        f"file://{tmp_path}/s/a.jpg",
        "./../sub//d.jpg",
        "sub\\\\d.jpg",
    ]
    lines = [json.dumps({"image": name, "caption": str(number)}) for number, name in enumerate(names)]
    (tmp_path / "s/deep/t.jsonl").write_text("\n".join(lines).replace("\\\\\\\\", "\\\\"))
    result = imported(tmp_path / "w", tmp_path / "s/deep/t.jsonl", media_root=tmp_path / "s/deep")
    assert result.rejected == {"remote_media": 1, "missing_media": 1}
    root = MediaRoot(tmp_path / "w/data/vision/own")
    assert [root.locate(record["image"]) for record in records(tmp_path / "w")] == ["file"] * 4
