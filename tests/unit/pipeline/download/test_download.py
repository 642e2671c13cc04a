"""`aurora download`: what comes from a mirror folder and from a hub, and what is written down about it."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.data.download.manifest import DownloadManifest
from aurora_cli.errors import HostError, UsageError
from aurora_cli.pipeline import merge_tars
from aurora_cli.pipeline.download import command as download
from aurora_cli.pipeline.extract import command as extract
from tests.downloading import BIG, SHOWN, data_files, settings
from tests.hub import REPO, Hub


def test_everything_comes_from_a_hub_as_it_is(hub: Hub, tmp_path: Path):
    result = download.run(settings(tmp_path))
    assert data_files(tmp_path) == SHOWN
    assert (result.exit_code, result.files, result.fetched, result.linked) == (0, 8, 7, 1)


def test_everything_comes_from_a_folder_as_it_is(mirror: Path, tmp_path: Path):
    result = download.run(settings(tmp_path / "w", repo=str(mirror)))
    assert data_files(tmp_path / "w") == SHOWN
    assert (result.files, result.fetched, result.linked) == (8, 7, 1)


@pytest.mark.parametrize("origin", ["hub", "mirror"])
def test_equal_archives_share_their_place_on_disk(origin: str, request: pytest.FixtureRequest, tmp_path: Path):
    place = request.getfixturevalue(origin)
    options = {"repo": str(place)} if origin == "mirror" else {}
    download.run(settings(tmp_path / "w", splits=["vision"], **options))
    download.run(settings(tmp_path / "w", **options))
    data = tmp_path / "w" / "data"
    assert (data / "vision/laion/laion.tar.gz.part_000").samefile(data / "language/laion/laion.tar.gz.part_000")


@pytest.mark.parametrize("origin", ["hub", "mirror"])
def test_a_second_run_fetches_nothing_and_says_so(origin: str, request: pytest.FixtureRequest, tmp_path: Path):
    place = request.getfixturevalue(origin)
    chosen = settings(tmp_path / "w", **({"repo": str(place)} if origin == "mirror" else {}))
    download.run(chosen)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "w/data").rglob("*.gz*")}
    result = download.run(chosen)
    assert result.fetched == 0
    assert result.lines()[0].startswith("Nothing to do: all 8 files")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "w/data").rglob("*.gz*")} == before


def test_a_dry_run_shows_files_and_bytes_per_subset_and_touches_nothing(hub: Hub, tmp_path: Path):
    result = download.run(settings(tmp_path / "w"), dry_run=True)
    assert not (tmp_path / "w").exists()
    by_name = {entry.subset: entry for entry in result.subsets}
    assert by_name["projection/densefusion"].files == 3
    assert by_name["projection/densefusion"].bytes == 403_000
    assert any("projection/densefusion" in line and "403,000 bytes" in line for line in result.lines())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"splits": ["vision"]}, {"vision/laion/laion.jsonl", "vision/laion/laion.tar.gz.part_000"}),
        ({"subsets": ["evol"]}, {"language/evol/evol.jsonl"}),
        ({"subsets": ["vision/laion"], "annotations_only": True}, {"vision/laion/laion.jsonl"}),
        ({"include": ["*.part_001"]}, {"projection/densefusion/dense.tar.gz.part_001"}),
        ({"exclude": ["projection/*", "*.gz.part*", "*.md"]}, {"vision/laion/laion.jsonl", "language/evol/evol.jsonl"}),
    ],
)
def test_only_what_is_chosen_comes(hub: Hub, tmp_path: Path, options: dict, expected: set[str]):
    download.run(settings(tmp_path, **options))
    assert data_files(tmp_path).keys() == expected


def test_unknown_names_are_answered_with_near_ones(hub: Hub, tmp_path: Path):
    with pytest.raises(UsageError, match="did you mean densefusion"):
        download.run(settings(tmp_path, subsets=["dense_fusion"]))
    with pytest.raises(UsageError, match="did you mean projection"):
        download.run(settings(tmp_path, splits=["projektion"]))
    with pytest.raises(UsageError, match=f"did you mean {REPO}"):
        download.run(settings(tmp_path, repo="wchai/AuroraCap-train"))
    with pytest.raises(UsageError, match="no branch, tag or commit 'v9'"):
        download.run(settings(tmp_path, revision="v9"))
    with pytest.raises(UsageError, match=r"download\.include: no file of .* matches '\*\.zip'\n"):
        download.run(settings(tmp_path, include=["*.gz*", "*.zip"]))
    with pytest.raises(UsageError, match=r"no file of .* matches 'evol.json'; did you mean evol\.jsonl"):
        download.run(settings(tmp_path, include=["evol.json"]))
    with pytest.raises(
        UsageError, match=r"^download\.splits, download\.include: none of the \d+ files of .* is selected\n"
    ):
        download.run(settings(tmp_path, splits=["language"], include=["dense*"]))
    assert not (tmp_path / "data").exists()


def test_verify_finds_and_replaces_a_damaged_file(hub: Hub, tmp_path: Path):
    download.run(settings(tmp_path))
    damaged = tmp_path / "data/projection/densefusion/dense.tar.gz.part_000"
    damaged.write_bytes(b"\0" * len(BIG))
    assert download.run(settings(tmp_path)).fetched == 0
    assert download.run(settings(tmp_path, verify=True)).fetched == 1
    assert damaged.read_bytes() == BIG


def test_files_that_somebody_put_there_are_taken_if_they_are_right(hub: Hub, tmp_path: Path):
    place = tmp_path / "data/projection/densefusion/dense.tar.gz.part_000"
    place.parent.mkdir(parents=True)
    place.write_bytes(BIG)
    wrong = place.with_name("dense.tar.gz.part_001")
    wrong.write_bytes(BIG[100_000:200_000])
    result = download.run(settings(tmp_path, subsets=["densefusion"]))
    assert result.fetched == 2
    assert wrong.read_bytes() == BIG[:100_000]


def test_too_little_space_is_said_before_anything_is_written(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 1234, 1234))
    with pytest.raises(HostError, match=r"bytes are to come, 1,234 bytes are free"):
        download.run(settings(tmp_path / "w", repo=str(mirror)))
    assert not (tmp_path / "w").exists()


def test_later_steps_see_that_a_download_is_not_complete(hub: Hub, tmp_path: Path):
    hub.faults.gone = {"projection/densefusion/dense.tar.gz.part_001"}
    with pytest.raises(HostError):
        download.run(settings(tmp_path, subsets=["densefusion"], workers=1))
    for command in (merge_tars, extract):
        result = command.run(Settings(workspace=tmp_path))
        assert (result.exit_code, len(result.problems)) == (3, 1)
        assert "part_001 has not been downloaded yet" in result.problems[0]


def test_what_a_later_step_used_and_deleted_is_not_fetched_again(hub: Hub, tmp_path: Path):
    from aurora_cli.data.archives.spent import delete_spent

    download.run(settings(tmp_path))
    folder = tmp_path / "data/projection/densefusion"
    parts = sorted(folder.glob("*.part_*"))
    (folder / "dense.tar.gz").write_bytes(b"".join(part.read_bytes() for part in parts))
    delete_spent(parts, folder / "dense.tar.gz")
    assert download.run(settings(tmp_path)).fetched == 0
    (folder / "dense.tar.gz").unlink()
    assert download.run(settings(tmp_path)).fetched == 2, "the archive is gone, so its parts are wanted again"


def test_parts_that_were_merged_and_removed_by_hand_are_not_fetched_again(hub: Hub, tmp_path: Path):
    download.run(settings(tmp_path))
    folder = tmp_path / "data/projection/densefusion"
    parts = sorted(folder.glob("*.part_*"))
    (folder / "dense.tar.gz").write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    assert download.run(settings(tmp_path)).fetched == 0


def test_the_manifest_records_source_commit_hashes_and_settings(hub: Hub, tmp_path: Path):
    download.run(settings(tmp_path))
    stored = json.loads((tmp_path / "data/download.json").read_text())
    assert stored["repo"] == REPO
    assert len(stored["commit"]) == 40
    assert stored["settings"]["repo"] == REPO
    assert all(entry["sha256"] or entry["git_sha1"] for entry in stored["files"])


def test_a_choice_that_was_given_up_is_forgotten(hub: Hub, tmp_path: Path):
    hub.faults.gone = {"projection/densefusion/densefusion.jsonl"}
    with pytest.raises(HostError):
        download.run(settings(tmp_path, workers=1))
    shutil.rmtree(tmp_path / "data/vision", ignore_errors=True)
    download.run(settings(tmp_path, subsets=["evol"]))
    manifest = DownloadManifest.of_folder(tmp_path / "data")
    assert manifest is not None
    assert not any(path.startswith("vision/") for path in manifest.by_path)
