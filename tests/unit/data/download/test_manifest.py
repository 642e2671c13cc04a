"""The list of a download: as an earlier version wrote it, as this one does, and damaged."""

import json
import shutil
from pathlib import Path

import pytest

from aurora_cli.data.download.manifest import MANIFEST_FILE, DownloadManifest, RemoteFile
from aurora_cli.errors import DataError

WRITTEN = Path(__file__).parents[3] / "fixtures" / "workspace-0.1.0" / "data"


def test_what_an_earlier_version_wrote_is_read_and_written_the_same(tmp_path: Path):
    shutil.copy(WRITTEN / MANIFEST_FILE, tmp_path)
    before = (tmp_path / MANIFEST_FILE).read_bytes()
    manifest = DownloadManifest.of_folder(tmp_path)
    assert manifest is not None
    assert (manifest.repo, len(manifest.files)) == ("mirror", 19)
    assert manifest.terms["vision/m3it"][0].licence == "none needed"
    manifest.write_into(tmp_path)
    assert (tmp_path / MANIFEST_FILE).read_bytes() == before


def test_one_without_terms_is_read(tmp_path: Path):
    """As the very first versions wrote it."""
    listed = {"repo": "a/b", "revision": "main", "commit": "c", "settings": {}, "files": [{"path": "x", "size": 1}]}
    (tmp_path / MANIFEST_FILE).write_text(json.dumps({"schema": 1, **listed}))
    manifest = DownloadManifest.of_folder(tmp_path)
    assert manifest is not None
    assert (manifest.terms, manifest.by_path) == ({}, {"x": RemoteFile("x", 1)})


@pytest.mark.parametrize("content", ["", "[]", '{"repo": "a/b"}', '{"files": 1}', '{"schema": 2}'])
def test_a_damaged_one_is_named_with_what_to_do(tmp_path: Path, content: str):
    (tmp_path / MANIFEST_FILE).write_text(content)
    with pytest.raises(DataError, match=r"download\.json") as caught:
        DownloadManifest.of_folder(tmp_path)
    assert caught.value.hint is not None


def test_hashes_that_were_found_go_into_it(tmp_path: Path):
    files = (RemoteFile("a", 1), RemoteFile("b", 2, sha256="old"))
    manifest = DownloadManifest(repo="a/b", revision="main", commit="", settings={}, files=files)
    assert [file.sha256 for file in manifest.with_hashes({"a": "new"}).files] == ["new", "old"]
    assert manifest.with_hashes({}).files == files
