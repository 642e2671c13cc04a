"""Manifests: the keys of the first version on disk, a fingerprint of what decides rows, sums, refusals."""

import json
from pathlib import Path

import pytest

from aurora_cli.data.token_store.entries import Counts, SourceFile
from aurora_cli.data.token_store.folder import is_complete, part_name, shard_manifests, whole_manifest
from aurora_cli.data.token_store.manifest import (
    CompletionManifest,
    MergedManifest,
    ShardManifest,
    StoreManifest,
    merged_inputs,
    read_manifest,
)
from aurora_cli.data.token_store.rejected import RejectedRecord, rejected_records
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import read_json, write_json
from aurora_cli.io.json_files import NewerSchema
from tests.tokenizing import shard_manifest, tokenize_manifest

FIRST_VERSION = Path(__file__).parents[3] / "fixtures/workspace-0.1.0/tokenized/language/llava_mix"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (ShardManifest, "shards/part-00001/manifest.json"),
        (MergedManifest, "merged/manifest.json"),
        (CompletionManifest, "tokenize.json"),
    ],
)
def test_what_the_first_version_wrote_is_read_and_written_with_the_same_keys(model: type[StoreManifest], path: str):
    before = read_json(FIRST_VERSION / path)
    after = model.read(FIRST_VERSION / path).to_json()
    for source in (
        *after["inputs"],
        *(part["source"] for part in (after, *after.get("parts", ())) if "source" in part),
    ):
        assert source.pop("media_root") is None, "new, and nothing in files of that version"
    assert after.pop("image_places") == "front", "new: what that version did"
    for counts in (part["counts"] for part in (after, *after.get("parts", ())) if "counts" in part):
        added = [counts.pop(name) for name in ("spans", "keys_read", "keys_warned", "animated")]
        assert added == [0, {}, {}, 0], "new as well"
    assert (before.pop("schema_version"), after.pop("schema_version")) == (1, 2), "summaries have media keys by now"
    assert json.loads(json.dumps(after)) == before


def test_reasons_of_the_first_version_are_read_under_their_present_names(tmp_path: Path):
    counts = Counts.model_validate({"read": 3, "taught": 7, "rejected": {"picture_count": 2, "nothing_taught": 1}})
    assert counts == Counts(read=3, target_tokens=7, rejected={"image_count": 2, "no_target_tokens": 1})
    line = {"file": "a.jsonl", "line": 4, "id": "x", "reason": "picture_count", "detail": "2 images, 1 <image>"}
    (tmp_path / "rejected.jsonl").write_text(json.dumps(line) + "\n[]\noops\n" + json.dumps({**line, "id": 5}) + "\n")
    found = list(rejected_records([tmp_path / "nowhere", tmp_path], most=10))
    assert found == [
        RejectedRecord("a.jsonl", 4, "x", "image_count", "2 images, 1 <image>"),
        RejectedRecord("a.jsonl", 4, "5", "image_count", "2 images, 1 <image>"),
    ]
    assert list(rejected_records([tmp_path], most=1)) == found[:1]


def test_the_fingerprint_is_what_decides_rows():
    assert StoreManifest.fingerprint_fields() == (
        "tokenizer_fingerprint",
        "record_schema",
        "template",
        "chat_template",
        "max_length",
        "frames",
        "image_places",
        "batch_size",
        "check_media",
        "inputs",
    )
    assert StoreManifest.fingerprint_fields() == ShardManifest.fingerprint_fields()


def test_differences_name_the_setting_and_both_values():
    before = tokenize_manifest("a.jsonl", "b.jsonl", tokenizer="x", tokenizer_fingerprint="abc")
    assert before.differences(before.model_copy(update={"tokenizer": "elsewhere/x", "bos_token": None})) == []
    now = before.model_copy(
        update={
            "tokenizer": "y",
            "tokenizer_fingerprint": "def",
            "max_length": 64,
            "inputs": tuple(
                file.model_copy(update={"path": f"moved/{file.path}", "sha256": digest})
                for file, digest in zip(before.inputs, "01", strict=True)
            ),
        }
    )
    assert before.differences(now) == [
        "tokenizer: x (abc), not y (def)",
        "max_length: 4096, not 64",
        "input: moved/b.jsonl had sha256 0 and has 1",
    ]
    assert before.differences(tokenize_manifest("a.jsonl", tokenizer="x", tokenizer_fingerprint="abc")) == [
        "input: 2 files, not 1"
    ]


def test_inputs_that_are_read_otherwise_differ():
    file = SourceFile(path="data/a.jsonl", size=1, sha256="0", frame_lists="separate")
    assert file.difference(file.model_copy(update={"path": "b.jsonl"})) is None
    video = file.model_copy(update={"frame_lists": "clip"})
    assert file.difference(video) == "frame_lists of data/a.jsonl: separate, not clip"
    assert (file.media_root_path, file.model_copy(update={"media_root": "/m"}).media_root_path) == ("data", "/m")


def test_counts_add_up():
    total = Counts.total(
        [
            Counts(read=3, kept=1, tokens=10, target_tokens=4, rejected={"bad_json": 2}),
            Counts(read=5, kept=4, tokens=20, target_tokens=5, rejected={"bad_json": 1}),
        ]
    )
    assert total == Counts(read=8, kept=5, tokens=30, target_tokens=9, rejected={"bad_json": 3})
    assert Counts.total([]) == Counts()


def test_a_shard_whose_files_are_not_what_its_manifest_says_is_not_whole(tmp_path: Path):
    shard = tmp_path / "shards" / part_name(0)
    shard.mkdir(parents=True)
    (shard / "data-00000-of-00001.arrow").write_bytes(b"12345")
    for files, whole in (
        ({"data-00000-of-00001.arrow": 5}, True),
        ({"data-00000-of-00001.arrow": 6}, False),
        ({}, False),
    ):
        shard_manifest(1, files=files).write(shard / "manifest.json")
        assert (whole_manifest(shard) is not None) == whole
        assert list(shard_manifests(tmp_path)) == ([0] if whole else [])


def test_what_a_later_version_wrote_is_never_taken_for_damage(tmp_path: Path):
    shard = tmp_path / "shards" / part_name(0)
    write_json(shard / "manifest.json", {"schema_version": 3})
    write_json(tmp_path / "tokenize.json", {"schema_version": 3, "shards": 1})
    for read in (lambda: shard_manifests(tmp_path), lambda: is_complete(tmp_path, {}), lambda: read_manifest(shard)):
        with pytest.raises(NewerSchema, match="this version of aurora reads up to 2"):
            read()


def test_a_damaged_completion_file_means_not_complete(tmp_path: Path):
    for text in ("", "{}", "[]"):
        (tmp_path / "tokenize.json").write_text(text)
        assert not is_complete(tmp_path, {})


def test_inputs_are_none_where_no_manifest_tells_them(tmp_path: Path):
    assert merged_inputs(tmp_path) == ()
    (tmp_path / "manifest.json").write_text("{")
    assert merged_inputs(tmp_path) == ()
    assert [file.path for file in merged_inputs(FIRST_VERSION / "merged")] == [
        "data/language/llava_mix/llava_mix.jsonl"
    ]
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="is not a shard's manifest"):
        read_manifest(tmp_path)
