"""`aurora tokenize --shard`: whoever makes which shards, and whatever is killed, the folder is one process's."""

import hashlib
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from aurora_cli.data.token_store import folder as store_folder
from aurora_cli.data.token_store.folder import COMPLETE, shard_manifests
from aurora_cli.data.token_store.shares import SHARES
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.locks import lock_output
from aurora_cli.pipeline.merge_shards import run as merge
from aurora_cli.pipeline.tokenize.command import run
from tests.tokenizing import merge_settings, settings, write_records

OUTPUT = Path("tokenized/vision/mine")


def prepare(workspace: Path, records: int) -> None:
    file = write_records(workspace / "data/vision/mine/mine.jsonl", records)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:3], "no record\n", *lines[3:]]))
    write_records(workspace / "data/vision/mine/second.jsonl", 5, start=records)


def files_in(folder: Path) -> dict[str, str]:
    """The hash of every file, by its name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def alone(workspace: Path, batch_size: int) -> dict[str, str]:
    """What one process makes: the folder and what is merged from it."""
    run(settings(workspace, batch_size=batch_size))
    merge(merge_settings(workspace))
    made = files_in(workspace / OUTPUT)
    (workspace / OUTPUT).rename(workspace / "alone")
    return made


def test_shares_in_any_order_make_the_folder_of_one_process(tmp_path):
    prepare(tmp_path, 30)
    expected = alone(tmp_path, 4)
    for index in (2, 0, 1):
        (result,) = run(settings(tmp_path, batch_size=4, shard=f"{index}/3")).folders
        assert (result.share, result.made in (3, 4)) == (f"{index}/3", True)
        assert (result.missing == ()) == (index == 1)
    merge(merge_settings(tmp_path))
    assert files_in(tmp_path / OUTPUT) == expected
    (again,) = run(settings(tmp_path, batch_size=4, shard="1/3")).folders
    assert (again.made, again.missing) == (0, ())
    assert files_in(tmp_path / OUTPUT) == expected


def test_until_all_shares_are_there_merging_names_those_that_are_missing(tmp_path):
    prepare(tmp_path, 30)
    for index in (0, 3):
        (result,) = run(settings(tmp_path, batch_size=2, shard=f"{index}/4")).folders
    assert result.missing == (1, 2)
    with pytest.raises(DataError, match="shards are missing, which are of shares 1, 2 of 4") as missing:
        merge(merge_settings(tmp_path))
    assert "--shard 1/4, --shard 2/4" in (missing.value.hint or "")
    there = len(shard_manifests(tmp_path / OUTPUT))
    (rest,) = run(settings(tmp_path, batch_size=2)).folders  # one process makes what is left
    assert (rest.shards, rest.made) == (16 + 3, 19 - there)  # 31 lines and 5, two a shard
    assert not (tmp_path / OUTPUT / SHARES).exists()


def test_more_shares_than_shards_leave_some_with_nothing_to_do(tmp_path):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 3)
    made = [run(settings(tmp_path, batch_size=2, shard=f"{index}/5")).folders[0].made for index in range(5)]
    assert sorted(made) == [0, 0, 0, 1, 1]
    assert (tmp_path / OUTPUT / COMPLETE).exists()


def test_all_shares_with_force_make_all_shards_again(tmp_path):
    prepare(tmp_path, 20)
    run(settings(tmp_path, batch_size=4, max_length=64))
    expected = files_in(tmp_path / OUTPUT)
    with pytest.raises(UsageError, match="max_length: 64, not 32"):
        run(settings(tmp_path, batch_size=4, max_length=32, shard="0/2"))
    run(settings(tmp_path, batch_size=4, max_length=32, force=True, output="other"))
    for index in range(2):
        (result,) = run(settings(tmp_path, batch_size=4, max_length=32, force=True, shard=f"{index}/2")).folders
        assert (result.missing == ()) == (index == 1)
    assert {manifest.max_length for manifest in shard_manifests(tmp_path / OUTPUT).values()} == {32}
    rows = [name for name in expected if name.endswith(".arrow")]
    assert {name: files_in(tmp_path / OUTPUT)[name] for name in rows} == {
        name: files_in(tmp_path / "other")[name] for name in rows
    }


def _tokenize_and_die(workspace: Path, share: str, at: int) -> None:
    """In a process of its own: be killed in the middle of the `at`-th shard of a share."""
    write, shards = store_folder._write_shard, 0

    def write_some(shard, chunks, base):
        nonlocal shards
        shards += 1
        if shards == at:
            chunks = _ending_the_process(chunks)
        write(shard, chunks, base)

    store_folder._write_shard = write_some
    run(settings(workspace, batch_size=4, shard=share))


def _ending_the_process(chunks):
    yield next(iter(chunks))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_shares_that_were_killed_and_are_made_again_give_the_same_folder(tmp_path):
    prepare(tmp_path, 60)
    expected = alone(tmp_path, 4)
    context = multiprocessing.get_context("fork")
    for share, at in (("0/3", 1), ("1/3", 3)):
        process = context.Process(target=_tokenize_and_die, args=(tmp_path, share, at))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    for share in ("2/3", "1/3", "0/3"):
        run(settings(tmp_path, batch_size=4, shard=share))
    merge(merge_settings(tmp_path))
    assert files_in(tmp_path / OUTPUT) == expected
    assert not list((tmp_path / OUTPUT).rglob("*.partial"))


def test_a_second_process_on_a_share_or_on_a_shard_learns_who_has_it(tmp_path):
    prepare(tmp_path, 20)
    who = rf"aurora tokenize --shard 1/2 \(process {os.getpid()}"
    with (
        lock_output(tmp_path / OUTPUT / "shards" / "00001-of-00002", "aurora tokenize --shard 1/2"),
        pytest.raises(UsageError, match=who),
    ):
        run(settings(tmp_path, batch_size=4, shard="1/2"))
    shard = tmp_path / OUTPUT / "shards" / "part-00000"
    with lock_output(shard, "aurora tokenize"), pytest.raises(UsageError, match=r"part-00000: is being written by"):
        run(settings(tmp_path, batch_size=4))


def test_a_file_without_records_is_told_by_every_share(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    for share in ("0/2", "1/2"):
        with pytest.raises(DataError, match="no records"):
            run(settings(tmp_path, inputs=("empty.jsonl",), output="out", shard=share))
