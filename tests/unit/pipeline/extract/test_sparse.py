"""Members that are stored without their holes come out under their own names, with their holes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from aurora_cli.data.media.root import MediaRoot
from aurora_cli.pipeline.extract import command as extract
from tests.archiving import SUBSET, settings, tree

WRITERS = {
    "gnu": ["tar", "cSf", "{tar}", "--format=gnu"],
    "pax 0.0": ["tar", "cSf", "{tar}", "--format=posix", "--sparse-version=0.0"],
    "pax 0.1": ["tar", "cSf", "{tar}", "--format=posix", "--sparse-version=0.1"],
    "pax 1.0": ["tar", "cSf", "{tar}", "--format=posix", "--sparse-version=1.0"],
    "bsdtar": ["bsdtar", "cf", "{tar}"],
}
MEGABYTE = 1 << 20


def with_holes(path: Path, pieces: list[tuple[int, bytes]], size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        for offset, content in pieces:
            file.seek(offset)
            file.write(content)
        file.truncate(size)
    return path


@pytest.mark.parametrize("layout", ["files", "index"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_sparse_member_has_its_name_its_bytes_and_its_holes(tmp_path: Path, writer: str, layout: str):
    command = WRITERS[writer]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    source, target = tmp_path / "source", tmp_path / SUBSET
    files = [
        with_holes(source / "videos/1.mp4", [(0, b"begin" * 900), (MEGABYTE, b"end")], MEGABYTE + 3),
        with_holes(source / "videos/60.mp4", [(n * 100_000, b"piece" * 1000) for n in range(60)], 60 * 100_000),
        with_holes(source / f"{'long/' * 40}2.mp4", [(MEGABYTE, b"middle")], 3 * MEGABYTE),
        with_holes(source / "empty.mp4", [], 2 * MEGABYTE),
        with_holes(source / "zz-after", [(0, b"after")], 5),
    ]
    names = [file.relative_to(source).as_posix() for file in files]
    target.mkdir(parents=True)
    written = [part.format(tar=target / "a.tar") for part in command]
    subprocess.run([*written, "-C", source, *names], check=True)

    result = extract.run(settings(tmp_path, layout=layout))
    assert (result.exit_code, result.rejected, result.archives[0].members) == (0, 0, 5), result.lines()
    assert result.archives[0].bytes == sum(file.stat().st_size for file in files)
    root = MediaRoot(target)
    assert all(root.read(name) == file.read_bytes() for name, file in zip(names, files, strict=True))
    assert extract.run(settings(tmp_path, layout=layout)).archives[0].done_before
    if layout == "files":
        assert {path for path, content in tree(target).items() if content is not None} == set(names)
    if (source / "empty.mp4").stat().st_blocks == 0:  # a filesystem with holes
        assert (target / "empty.mp4").stat().st_blocks == 0
        assert (target / "videos/1.mp4").stat().st_blocks * 512 < MEGABYTE // 2


def test_a_sparse_member_that_is_gone_is_written_again(tmp_path: Path):
    with_holes(tmp_path / "source/1.mp4", [(MEGABYTE, b"end")], MEGABYTE + 3)
    (tmp_path / SUBSET).mkdir(parents=True)
    subprocess.run(["tar", "cSf", tmp_path / SUBSET / "a.tar", "-C", tmp_path / "source", "1.mp4"], check=True)
    extract.run(settings(tmp_path, layout="index"))
    (tmp_path / SUBSET / "1.mp4").unlink()
    extract.run(settings(tmp_path, layout="index"))
    assert (tmp_path / SUBSET / "1.mp4").read_bytes() == (tmp_path / "source/1.mp4").read_bytes()
