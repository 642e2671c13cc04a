"""`aurora extract --shard`: each archive by one process, and the same files whoever extracts which."""

import os
from pathlib import Path

import pytest

from aurora_cli.data.archives.finding.parts import find_archives
from aurora_cli.data.archives.journal import ExtractionState
from aurora_cli.errors import UsageError
from aurora_cli.pipeline.extract import command as extract
from tests.archiving import SUBSET, info, place, rejects, settings, tar_of, tree

SIZES = (9, 1, 4, 4, 2, 7)


def prepare(workspace: Path) -> None:
    for number, size in enumerate(SIZES):
        members = [info(f"{number}/{index}.jpg", bytes([number]) * 20_000) for index in range(size)]
        place(workspace, tar_of(*members, info(f"../out-{number}", b"hostile")), f"a{number}.tar")


def extracted(result: extract.ExtractResult) -> list[str]:
    return [Path(outcome.archive).name for outcome in result.archives if not outcome.done_before]


@pytest.mark.parametrize("layout", ["files", "index"])
def test_shares_in_any_order_extract_every_archive_once(tmp_path: Path, layout: str):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for workspace in (alone, shared):
        prepare(workspace)
    extract.run(settings(alone, layout=layout))
    results = {index: extract.run(settings(shared, layout=layout, shard=f"{index}/3")) for index in (1, 2, 0)}
    # by their sizes: 9 | 7 + 2 | 4 + 4 + 1
    assert sorted(name for result in results.values() for name in extracted(result)) == [f"a{n}.tar" for n in range(6)]
    assert [len(extracted(results[index])) for index in range(3)] == [1, 2, 3]
    assert [results[index].missing for index in (1, 2, 0)] == [(0, 2), (0,), ()]
    assert tree(shared / SUBSET) == tree(alone / SUBSET)
    named = [{**line, "archive": Path(line["archive"]).name} for line in rejects(shared)]
    assert named == [{**line, "archive": Path(line["archive"]).name} for line in rejects(alone)]
    assert len(named) == len(SIZES)
    again = extract.run(settings(shared, layout=layout, shard="1/3"))
    assert (extracted(again), again.missing) == ([], ())


def test_more_shares_than_archives_leave_some_with_nothing_to_do(tmp_path: Path):
    prepare(tmp_path)
    results = [extract.run(settings(tmp_path, shard=f"{index}/8")) for index in range(8)]
    assert sorted(len(extracted(result)) for result in results) == [0, 0, 1, 1, 1, 1, 1, 1]
    assert results[-1].missing == ()


def test_archives_are_not_deleted_while_others_divide_them_but_afterwards(tmp_path: Path):
    for number in range(3):
        place(tmp_path, tar_of(info(f"{number}.jpg", b"content")), f"a{number}.tar")
    with pytest.raises(UsageError, match="--delete-archives: not with --shard"):
        extract.run(settings(tmp_path, shard="0/2", delete_archives=True))
    for index in range(2):
        extract.run(settings(tmp_path, shard=f"{index}/2"))
    result = extract.run(settings(tmp_path, delete_archives=True))
    assert (extracted(result), len(result.deleted)) == ([], 3)


def test_a_second_process_on_an_archive_learns_who_has_it(tmp_path: Path):
    place(tmp_path, tar_of(info("a.jpg", b"content")))
    (archive,) = find_archives([tmp_path / SUBSET], lambda path, files: None)
    held = ExtractionState(archive, tmp_path / SUBSET).lock()
    with held, pytest.raises(UsageError, match=rf"is being written by aurora extract \(process {os.getpid()}"):
        extract.run(settings(tmp_path, shard="0/1"))
