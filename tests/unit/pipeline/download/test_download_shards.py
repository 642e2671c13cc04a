"""`aurora download --shard`: each file by one process, and the folder of one process in the end."""

import os
from pathlib import Path

import pytest

from aurora_cli.data.download.manifest import DownloadManifest
from aurora_cli.errors import UsageError
from aurora_cli.io.locks import lock_output
from aurora_cli.pipeline.download import command as download
from tests.downloading import SHOWN, data_files, settings


def test_shares_in_any_order_bring_every_file_once_and_write_one_list(mirror: Path, tmp_path: Path):
    download.run(settings(tmp_path / "alone", repo=str(mirror)))
    shared = tmp_path / "shared"
    results = {index: download.run(settings(shared, repo=str(mirror), shard=f"{index}/3")) for index in (2, 0, 1)}
    assert data_files(shared) == data_files(tmp_path / "alone") == SHOWN
    assert sum(result.fetched for result in results.values()) == 7
    assert sum(result.linked for result in results.values()) == 1  # equal archives are of one share
    assert [results[index].missing for index in (2, 0, 1)] == [(0, 1), (1,), ()]
    assert results[1].lines()[-1].startswith("All 8 files")
    lists = [DownloadManifest.of_folder(folder / "data") for folder in (shared, tmp_path / "alone")]
    assert lists[0] == lists[1]
    again = download.run(settings(shared, repo=str(mirror), shard="0/3"))
    assert (again.fetched, again.missing, again.lines()[0]) == (
        0,
        (),
        "Nothing to do: all files of share 0/3 are there.",
    )


def test_a_share_whose_file_was_damaged_brings_it_again_and_no_other(mirror: Path, tmp_path: Path):
    for index in range(2):
        download.run(settings(tmp_path, repo=str(mirror), shard=f"{index}/2"))
    (tmp_path / "data" / "README.md").write_bytes(b"damaged")
    fetched = [download.run(settings(tmp_path, repo=str(mirror), shard=f"{index}/2")).fetched for index in range(2)]
    assert sorted(fetched) == [0, 1]
    assert data_files(tmp_path) == SHOWN


def test_a_second_process_on_a_share_or_a_file_learns_who_has_it(mirror: Path, tmp_path: Path):
    held = lock_output(tmp_path / "data" / "download-00001-of-00002", "aurora download --shard 1/2")
    with held, pytest.raises(UsageError, match=rf"aurora download --shard 1/2 \(process {os.getpid()}"):
        download.run(settings(tmp_path, repo=str(mirror), shard="1/2"))
    file = lock_output(tmp_path / "data" / "README.md", "aurora download")
    with file, pytest.raises(UsageError, match=r"README\.md: is being written by aurora download"):
        download.run(settings(tmp_path, repo=str(mirror)))
