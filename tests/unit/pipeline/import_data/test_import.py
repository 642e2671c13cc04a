"""`aurora import`: every row is kept or listed, whatever form it is in; nothing is done twice, nothing is lost."""

import json
import os
import shlex
import tempfile
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_cli.cli.app import run
from aurora_cli.data.annotations.unread_files import unread_files
from aurora_cli.data.importing.item import REASONS
from aurora_cli.data.importing.questions import IMAGE_QUESTIONS
from aurora_cli.data.importing.registry import FORMATS
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.errors import DataError, UsageError
from tests.importing import (
    FORMS,
    MEDIA,
    MISSING,
    Row,
    imported,
    make_media,
    pair,
    records,
    rejects,
    what_is_kept,
    write_csv,
)
from tests.run_files import json_lines

CAPTIONS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda text: text.strip()[:1] != "[")
"""Also blanks, quotes, separators, ends of lines and NUL; what begins like a list may be one."""
ROWS = st.lists(st.tuples(st.sampled_from((*MEDIA, *MISSING)), CAPTIONS), min_size=1, max_size=12)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20)
@given(rows=ROWS)
def test_every_row_is_kept_or_listed_with_its_reason(form: str, rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace, source = Path(folder, "w"), Path(folder, "source")
        make_media(source)
        result = imported(workspace, FORMS[form](source, rows), media_root=source)
        expected = what_is_kept(rows)
        assert sorted(map(pair, records(workspace))) == sorted(expected)
        listed = rejects(workspace)
        assert (result.read, result.kept, len(listed)) == (len(rows), len(expected), len(rows) - len(expected))
        assert result.rejected == {
            reason: [one["reason"] for one in listed].count(reason) for reason in result.rejected
        }
        assert set(result.rejected) <= {"missing_media", "no_caption", "duplicate"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with media and a table of them."""
    make_media(tmp_path / "source")
    return write_csv(tmp_path / "source", [(name, f"This is {name}.") for name in MEDIA])


def test_what_is_imported_is_found_where_the_other_steps_look(tmp_path: Path, source: Path) -> None:
    imported(tmp_path / "w", source, split="projection", name="mine")
    folder = tmp_path / "w/data/projection/mine"
    found = records(tmp_path / "w", "mine", "projection")
    drawn = IMAGE_QUESTIONS[crc32(b"rows.csv:2") % len(IMAGE_QUESTIONS)]
    assert found[0]["conversations"][0] == {"from": "human", "value": f"<image>\n{drawn}"}
    paths = [record.get("image") or record["video"] for record in found]
    assert list(map(MediaRoot(folder).read, paths)) == [(source.parent / name).read_bytes() for name in MEDIA]
    assert (folder / ".media/source").is_symlink()


def test_a_second_import_has_nothing_to_do_and_a_changed_source_is_named(tmp_path: Path, source: Path) -> None:
    first = imported(tmp_path / "w", source)
    before = tree(tmp_path / "w")
    again = imported(tmp_path / "w", source)
    assert (again.done_before, again.kept, tree(tmp_path / "w")) == (True, first.kept, before)
    assert "nothing to do" in "\n".join(again.lines())
    os.utime(source, ns=(1, 1))  # its bytes are what they were
    assert imported(tmp_path / "w", source).done_before
    source.write_text(source.read_text().replace("This", "That"))
    with pytest.raises(UsageError, match=r"rows\.csv: has changed"):
        imported(tmp_path / "w", source)
    assert tree(tmp_path / "w") == before
    assert not imported(tmp_path / "w", source, force=True).done_before
    assert "That" in records(tmp_path / "w")[0]["conversations"][1]["value"]


def test_other_settings_are_named_too(tmp_path: Path, source: Path) -> None:
    imported(tmp_path / "w", source)
    with pytest.raises(UsageError, match=r"validation 0\.0"):
        imported(tmp_path / "w", source, validation=0.5)
    (tmp_path / "q.txt").write_text("What?")
    with pytest.raises(UsageError, match="other questions"):
        imported(tmp_path / "w", source, prompts=tmp_path / "q.txt")


def test_an_output_that_is_gone_is_made_again(tmp_path: Path, source: Path) -> None:
    imported(tmp_path / "w", source)
    before = tree(tmp_path / "w")
    (tmp_path / "w/data/vision/own/own.jsonl").unlink()
    assert not imported(tmp_path / "w", source).done_before
    assert tree(tmp_path / "w") == before


def test_somebody_elses_subset_is_left_alone(tmp_path: Path, source: Path) -> None:
    theirs = tmp_path / "w/data/vision/own/own.jsonl"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("{}\n")
    with pytest.raises(UsageError, match="no import made it"):
        imported(tmp_path / "w", source)
    assert theirs.read_text() == "{}\n"


def test_a_source_that_its_records_would_be_written_into_is_refused(tmp_path: Path) -> None:
    make_media(tmp_path / "data/vision/own")
    table = write_csv(tmp_path / "data/vision/own", [("a.jpg", "A.")])
    with pytest.raises(UsageError, match="lies where its records"):
        imported(tmp_path, table)


def test_the_validation_split_is_by_medium_and_outside_the_training_data(tmp_path: Path) -> None:
    media = tmp_path / "source"
    media.mkdir()
    names = [f"{number}.jpg" for number in range(200)]
    for name in names:
        (media / name).touch()
    table = write_csv(media, [(name, f"Caption {number} of {name}") for name in names for number in range(3)])
    result = imported(tmp_path / "w", table, validation=0.25)
    trained = {pair(record)[0] for record in records(tmp_path / "w")}
    kept_back = json_lines(tmp_path / "w/validation/vision/own/own.jsonl")
    validated = {pair(record)[0] for record in kept_back}
    assert trained | validated == set(names)
    assert not trained & validated
    assert result.validation == len(kept_back) == 3 * len(validated)
    assert len(validated) == 50  # a quarter of 200
    root = MediaRoot(tmp_path / "w/validation/vision/own")
    assert all(root.locate(record["image"]) == "file" for record in kept_back)
    assert sorted(path.name for path in (tmp_path / "w/data").rglob("*.jsonl")) == ["own.jsonl", "rejected.jsonl"]


def test_rows_of_a_group_lie_on_one_side(tmp_path: Path) -> None:
    media = tmp_path / "source"
    media.mkdir()
    lines = ["image,caption,shoot"]
    for number in range(100):
        (media / f"{number}.jpg").touch()
        lines.append(f"{number}.jpg,Caption {number},{number // 10}")
    (media / "t.csv").write_text("\n".join(lines))
    imported(tmp_path / "w", media / "t.csv", validation=0.5, group_column="shoot")
    trained = {int(pair(record)[0].removesuffix(".jpg")) // 10 for record in records(tmp_path / "w")}
    validated = {
        int(pair(record)[0].removesuffix(".jpg")) // 10
        for record in json_lines(tmp_path / "w/validation/vision/own/own.jsonl")
    }
    assert trained
    assert len(validated) == 5  # of ten shoots
    assert not trained & validated
    assert {record["group"] for record in records(tmp_path / "w")} == {str(shoot) for shoot in trained}


def test_copied_media_stay_when_the_source_goes(tmp_path: Path, source: Path) -> None:
    imported(tmp_path / "w", source, copy_files=True)
    contents = [(source.parent / name).read_bytes() for name in MEDIA]
    source.parent.rename(tmp_path / "gone")
    root = MediaRoot(tmp_path / "w/data/vision/own")
    assert [root.read(record.get("image") or record["video"]) for record in records(tmp_path / "w")] == contents


def test_questions_are_drawn_from_a_file_by_id(tmp_path: Path, source: Path) -> None:
    (tmp_path / "q.txt").write_text("Who?\n\n[video]\nWhat moves?\n")
    imported(tmp_path / "w", source, prompts=tmp_path / "q.txt")
    asked = {pair(record)[0]: record["conversations"][0]["value"] for record in records(tmp_path / "w")}
    assert asked["a.jpg"] == "<image>\nWho?"
    assert asked["e.mp4"] in ("<video>\nWho?", "<video>\nWhat moves?")


@pytest.mark.slow
def test_a_dry_run_shows_what_would_be_asked_and_writes_nothing_but_its_page(tmp_path: Path, source: Path) -> None:
    result = imported(tmp_path / "w", source, dry_run=True, html=tmp_path / "page.html")
    lines = result.lines()
    assert "file from 'file_name'" in lines[1]
    assert "  A: This is a.jpg." in lines
    assert not (tmp_path / "w").exists()
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 3  # the video is none
    assert "This is sub/d.jpg." in page


@pytest.mark.slow
def test_a_sample_of_the_media_is_decoded(tmp_path: Path, source: Path) -> None:
    result = imported(tmp_path / "w", source, check_media=True)
    assert result.media is not None
    assert (result.media.images, result.media.image_sizes) == (3, ("8 x 6", "8 x 6", "8 x 6"))
    assert [path for path, _ in result.media.unreadable] == [".media/source/e.mp4"]
    assert result.exit_code == 3


def test_nothing_that_can_be_used_is_exit_3_and_is_listed(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    table = write_csv(tmp_path / "s", [("nowhere.jpg", "A.")])
    result = imported(tmp_path / "w", table)
    assert result.exit_code == 3
    assert [one["reason"] for one in rejects(tmp_path / "w")] == ["missing_media"]
    assert not (tmp_path / "w/data/vision/own/own.jsonl").exists()
    make_media(tmp_path / "s")
    assert imported(tmp_path / "w", write_csv(tmp_path / "s", [("a.jpg", "A.")])).kept == 1


def test_a_source_that_is_nothing_known_lists_the_formats(tmp_path: Path) -> None:
    (tmp_path / "x.xyz").write_text("?")
    with pytest.raises(UsageError, match="none of the formats"):
        imported(tmp_path / "w", tmp_path / "x.xyz")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="is an empty file"):
        imported(tmp_path / "w", tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match="there is no such file"):
        imported(tmp_path / "w", tmp_path / "nowhere")
    with pytest.raises(UsageError, match="'parket' is no format"):
        imported(tmp_path / "w", tmp_path / "x.xyz", source_format="parket")


def tree(folder: Path) -> dict[str, bytes | str]:
    """Everything below a folder: contents of files, targets of links. Of our manifest all but the time of a file."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file() and path.name != ".lock":
            found[name] = path.read_bytes()
    return found


def test_the_manifest_says_what_became_of_every_row(tmp_path: Path, source: Path) -> None:
    imported(tmp_path / "w", source)
    manifest = json.loads((tmp_path / "w/data/vision/own/import.json").read_text())
    assert manifest["schema"] == 1
    assert manifest["counts"] == {"read": 4, "kept": 4, "validation": 0, "images": 3, "videos": 1, "rejected": {}}
    assert manifest["sources"][0]["files"][0]["size"] == source.stat().st_size


def test_the_page_names_every_format_and_every_reason() -> None:
    page = (Path(__file__).parents[4] / "docs/importing.md").read_text("utf-8")
    assert [name for name in [*FORMATS, *REASONS] if f"| `{name}` |" not in page] == []


def test_what_tokenize_says_of_a_table_among_the_data_brings_it_in(tmp_path: Path) -> None:
    make_media(tmp_path / "data/language/mine")
    table = write_csv(tmp_path / "data/language/mine", [(name, "A caption.") for name in MEDIA])
    (file,) = unread_files(tmp_path / "data")
    words = shlex.split(file.hint)
    assert words[:3] == ["aurora", "import", str(table)]
    assert run([*words[1:], "--workspace", str(tmp_path)]) == 0
    assert len(records(tmp_path, "mine-imported", "language")) == len(MEDIA)


@pytest.mark.parametrize("change", ["a text", "a new image"])
def test_a_folder_in_which_something_has_changed_is_named(change: str, tmp_path: Path) -> None:
    make_media(tmp_path / "s")
    (tmp_path / "s/a.txt").write_text("A.")
    imported(tmp_path / "w", tmp_path / "s")
    assert imported(tmp_path / "w", tmp_path / "s").done_before
    if change == "a text":
        (tmp_path / "s/a.txt").write_text("Another.")
    else:
        (tmp_path / "s/new.jpg").touch()
    with pytest.raises(UsageError, match=f"{tmp_path / 's'}: has changed"):
        imported(tmp_path / "w", tmp_path / "s")
