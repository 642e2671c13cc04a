"""`aurora merge-shards`: all shards, in order, linked."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.atomic import read_json, write_json
from aurora_cli.pipeline.merge_shards import run
from aurora_cli.pipeline.tokenize.command import run as tokenize
from tests.tokenizing import contents, merge_settings, settings, write_records


@pytest.fixture
def folder(tmp_path):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 7)
    tokenize(settings(tmp_path, batch_size=3))
    return tmp_path / "tokenized/vision/mine"


def test_rows_follow_shard_numbers_and_files_are_links(tmp_path, folder):
    (merged,) = run(merge_settings(tmp_path)).folders
    assert (merged.rows, merged.shards, merged.made) == (7, 3, True)
    assert [row[0] for row in contents(folder / "merged")] == [f"r{index}" for index in range(7)]
    shard = folder / "shards/part-00001/data-00000-of-00001.arrow"
    assert (folder / "merged/data-00001-of-00003.arrow").samefile(shard)
    manifest = read_json(folder / "merged/manifest.json")
    assert (manifest["media_root"], manifest["rows"]) == ("data/vision/mine", 7)
    assert (folder / "merged/tokenizer.json").exists()
    assert (folder / "merged/rejected.jsonl").read_text() == ""


def test_it_prints_the_number_of_items_and_the_first_case(tmp_path, folder):
    lines = run(merge_settings(tmp_path)).lines()
    assert "7 items" in lines[0]
    assert any("id: r0" in line for line in lines)
    assert any("ASSISTANT:>>>A red circle, number 0.</s><<<" in line for line in lines)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_datasets_reads_the_merged_folder(tmp_path, folder):
    from datasets import load_from_disk

    run(merge_settings(tmp_path))
    assert load_from_disk(str(folder / "merged"))["id"][:] == [f"r{index}" for index in range(7)]


def test_a_second_run_does_nothing_and_a_new_shard_merges_again(tmp_path, folder):
    run(merge_settings(tmp_path))
    (merged,) = run(merge_settings(tmp_path)).folders
    assert not merged.made
    tokenize(settings(tmp_path, batch_size=3, max_length=20, force=True))
    (merged,) = run(merge_settings(tmp_path)).folders
    assert merged.made
    assert all(len(row[4]) <= 20 for row in contents(folder / "merged"))


def damage(file: Path) -> None:
    """Flip a byte, as a disk may, where the file has it: links show it too."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    with open(file, "r+b") as opened:
        opened.write(content)


@pytest.mark.parametrize("made_again", ["by force", "by hand"])
@pytest.mark.parametrize("copy_files", [False, True])
def test_a_shard_that_is_made_again_is_merged_again_though_it_is_the_same(tmp_path, folder, copy_files, made_again):
    whole = contents(folder / "shards/part-00001")
    shard = folder / "shards/part-00001"
    damage(shard / "data-00000-of-00001.arrow")
    run(merge_settings(tmp_path, copy_files=copy_files))
    for file in (*shard.glob("*.arrow"), *(folder / "merged").glob("*-00001-of-00003.arrow")):
        os.utime(file, (1_700_000_000, 1_700_000_000))  # long ago
    assert not run(merge_settings(tmp_path, copy_files=copy_files)).folders[0].made
    if made_again == "by hand":
        shutil.rmtree(shard)
    tokenize(settings(tmp_path, batch_size=3, force=made_again == "by force"))
    assert "would merge 3 shards" in run(merge_settings(tmp_path, copy_files=copy_files), dry_run=True).lines()[0]
    assert run(merge_settings(tmp_path, copy_files=copy_files)).folders[0].made
    assert contents(folder / "merged")[3:6] == contents(shard) == whole
    assert not run(merge_settings(tmp_path, copy_files=copy_files)).folders[0].made


def test_copies_do_not_share_files(tmp_path, folder):
    run(merge_settings(tmp_path, folders=(folder,), output="elsewhere", copy_files=True))
    copy = tmp_path / "elsewhere/data-00000-of-00003.arrow"
    assert copy.stat().st_nlink == 1
    assert len(contents(tmp_path / "elsewhere")) == 7


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_missing_shard_is_named_the_last_one_too(tmp_path, folder, index):
    shutil.rmtree(folder / f"shards/part-{index:05d}")
    with pytest.raises(DataError, match=f"part-{index:05d}"):
        run(merge_settings(tmp_path))
    assert not (folder / "merged").exists()


def test_an_unfinished_tokenize_is_not_merged(tmp_path, folder):
    (folder / "tokenize.json").unlink()
    with pytest.raises(DataError, match="has not come to its end") as caught:
        run(merge_settings(tmp_path))
    assert "aurora tokenize" in (caught.value.hint or "")


def test_mixed_shards_are_refused(tmp_path, folder):
    manifest = read_json(folder / "shards/part-00001/manifest.json")
    write_json(folder / "shards/part-00001/manifest.json", {**manifest, "max_length": 64})
    with pytest.raises(DataError, match="part-00001 was made with other settings than part-00000: max_length: 64"):
        run(merge_settings(tmp_path))


def test_a_folder_that_is_no_merged_one_is_never_replaced(tmp_path, folder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    with pytest.raises(UsageError, match="is not a merged folder"):
        run(merge_settings(tmp_path, folders=(folder,), output="mine"))
    assert (tmp_path / "mine/thesis.txt").exists()


def test_nothing_to_merge_says_what_to_type(tmp_path):
    with pytest.raises(DataError) as caught:
        run(merge_settings(tmp_path))
    assert caught.value.hint == "aurora tokenize"


def test_a_dry_run_touches_nothing(tmp_path, folder):
    assert "would merge 3 shards" in run(merge_settings(tmp_path), dry_run=True).lines()[0]
    assert not (folder / "merged").exists()
    run(merge_settings(tmp_path))
    assert "nothing to do" in run(merge_settings(tmp_path), dry_run=True).lines()[0]


def test_another_filesystem_is_named_and_copied_to(tmp_path, folder, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(UsageError, match="cannot be hard-linked") as caught:
        run(merge_settings(tmp_path))
    assert caught.value.hint == "aurora merge-shards --copy"
    assert not (folder / "merged").exists()
    run(merge_settings(tmp_path, copy_files=True))
    assert len(contents(folder / "merged")) == 7


def test_a_folder_above_means_all_folders_in_it(tmp_path, folder):
    write_records(tmp_path / "data/language/other/other.jsonl", 2)
    tokenize(settings(tmp_path, subsets=("other",)))
    merged = run(merge_settings(tmp_path, folders=("tokenized/vision",))).folders
    assert [entry.rows for entry in merged] == [7]
    assert [entry.rows for entry in run(merge_settings(tmp_path, folders=("tokenized",))).folders] == [2, 7]
    with pytest.raises(UsageError, match="2 folders are to be merged"):
        run(merge_settings(tmp_path, folders=("tokenized",), output="one"))


def test_a_folder_that_is_not_there_is_not_made(tmp_path, folder):
    with pytest.raises(DataError, match="there is no such folder"):
        run(merge_settings(tmp_path, folders=("tokenised/vision",)))
    assert not (tmp_path / "tokenised").exists()


def test_the_shards_named_themselves_hint_at_their_folder(tmp_path, folder):
    for inside in ("shards", "shards/part-00000"):
        with pytest.raises(DataError) as caught:
            run(merge_settings(tmp_path, folders=(folder / inside,)))
        assert caught.value.hint == f"aurora merge-shards {folder}"


def test_a_shard_is_never_replaced_by_the_output(tmp_path, folder):
    before = contents(folder / "shards/part-00000")
    with pytest.raises(UsageError, match="is not a merged folder"):
        run(merge_settings(tmp_path, folders=(folder,), output=folder / "shards/part-00000"))
    assert contents(folder / "shards/part-00000") == before


def test_a_shard_too_many_is_named(tmp_path, folder):
    shutil.copytree(folder / "shards/part-00002", folder / "shards/part-00003")
    with pytest.raises(DataError, match="part-00003 is there, but there shall be 3 shards"):
        run(merge_settings(tmp_path))


@pytest.mark.parametrize("name", ["data-00000-of-00001.arrow", "summary.arrow"])
def test_damage_that_keeps_a_files_size_is_found_before_anything_is_written(tmp_path, folder, name):
    file = folder / "shards/part-00001" / name
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(DataError, match=f"part-00001/{name}: cannot be read|part-00001: holds") as caught:
        run(merge_settings(tmp_path))
    assert "Remove the damaged shard" in (caught.value.hint or "")
    assert not (folder / "merged").exists()


def test_a_summary_of_another_shard_is_found(tmp_path, folder):
    shutil.copyfile(folder / "shards/part-00002/summary.arrow", folder / "shards/part-00001/summary.arrow")
    manifest = read_json(folder / "shards/part-00001/manifest.json")
    size = (folder / "shards/part-00001/summary.arrow").stat().st_size
    write_json(
        folder / "shards/part-00001/manifest.json",
        {**manifest, "files": {**manifest["files"], "summary.arrow": size}},
    )
    with pytest.raises(DataError, match=r"summary\.arrow holds 1 rows, and there are 3"):
        run(merge_settings(tmp_path))


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("tokenize.json", "{", "tokenize.json: cannot be read"),
        ("tokenize.json", "[]", "tokenize.json: holds a list; an object was expected"),
        ("tokenize.json", "{}", "tokenize.json: is not a record of a complete folder: tokenizer: Field required"),
        ("shards/part-00001/manifest.json", "{", "1 of 3 shards are missing or damaged: part-00001"),
        ("shards/part-00001/manifest.json", "[]", "1 of 3 shards are missing or damaged: part-00001"),
        ("shards/part-00001/manifest.json", None, "1 of 3 shards are missing or damaged: part-00001"),
    ],
)
def test_damaged_manifests_are_bad_data_not_bugs(tmp_path, folder, path, text, message):
    if text is None:
        (folder / path).unlink()
    else:
        (folder / path).write_text(text)
    with pytest.raises(DataError, match=message):
        run(merge_settings(tmp_path))


def test_a_manifest_that_lacks_something_is_a_damaged_shard_that_tokenize_makes_again(tmp_path, folder):
    manifest = read_json(folder / "shards/part-00001/manifest.json")
    del manifest["counts"]
    write_json(folder / "shards/part-00001/manifest.json", manifest)
    with pytest.raises(DataError, match="1 of 3 shards are missing or damaged: part-00001") as caught:
        run(merge_settings(tmp_path))
    assert "Run aurora tokenize again" in (caught.value.hint or "")
    assert tokenize(settings(tmp_path, batch_size=3)).folders[0].made == 1
    assert run(merge_settings(tmp_path)).folders[0].rows == 7


def test_without_its_tokenizer_nothing_is_merged(tmp_path, folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"tokenizer\.json is missing"):
        run(merge_settings(tmp_path))
    assert not (folder / "merged").exists()
