"""`aurora caption --shard`: whoever makes which share, whatever is killed on the way, the result is one process's."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from aurora_cli.captioning.job.output import CaptionFile
from aurora_cli.captioning.job.parts import Part
from aurora_cli.config.settings import MergeCaptionsSettings, Settings
from aurora_cli.config.share import Share
from aurora_cli.console import Reporter
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.locks import lock_output
from aurora_cli.pipeline import merge_captions
from aurora_cli.pipeline.caption import command as caption
from aurora_cli.pipeline.caption.work import use_gpu
from tests.captioners import caption_settings, make_list, rejects, untimed

MEDIA = 11


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A workspace with images of which one is none, and a list of them in which rows are repeated and bad."""
    root = tmp_path_factory.mktemp("shares")
    make_list(root, MEDIA)
    return root


def settings(workspace: Path, *media: str, output: str = "c.jsonl", **given: Any) -> Settings:
    if not media:
        given["manifest"] = Path("rows.jsonl")
    return caption_settings(workspace, *media, output=Path(output), **{"max_new_tokens": 4, "batch_size": 2, **given})


def merge(workspace: Path, output: str = "c.jsonl", *, dry_run: bool = False) -> merge_captions.MergeCaptionsResult:
    merging = MergeCaptionsSettings(output=Path(output))
    return merge_captions.run(Settings(workspace=workspace, merge_captions=merging), dry_run=dry_run)


@pytest.mark.slow
@pytest.mark.parametrize("media", [(), ("media",)])
def test_shares_in_any_order_make_the_file_of_one_process(workspace, media):
    single = caption.run(settings(workspace, *media, output="single.jsonl"))
    for index in (2, 0, 1):
        part = caption.run(settings(workspace, *media, shard=f"{index}/3"))
        assert part.parts is not None
        assert part.parts.merged == (index == 1)
        assert part.exit_code == (3 if part.rejected else 0)
    assert untimed(workspace / "c.jsonl") == untimed(workspace / "single.jsonl")
    assert rejects(workspace, "c.jsonl") == rejects(workspace, "single.jsonl")
    assert len(rejects(workspace, "c.jsonl")) == len(single.rejected)
    settings_file = "c.jsonl.settings.json"
    assert (workspace / settings_file).read_bytes() == (workspace / f"single{settings_file[1:]}").read_bytes()
    before = (workspace / "c.jsonl").read_bytes()
    again = caption.run(settings(workspace, *media, shard="1/3"))
    assert (again.made, again.parts is not None and again.parts.merged) == (0, False)
    assert (workspace / "c.jsonl").read_bytes() == before


def _caption_and_die(workspace: Path, share: str, after: int) -> None:
    """In a process of its own: caption a share, and be killed after so many captions, in the middle of a line."""
    add = CaptionFile.add

    def add_some(self: CaptionFile, captions: Any) -> None:
        add(self, captions)
        if len(self.keys) >= after:
            with open(self.path, "a") as file:
                file.write('{"media": "media/0')
            os.kill(os.getpid(), signal.SIGKILL)

    CaptionFile.add = add_some  # pyrefly: ignore[bad-assignment]
    caption.run(settings(workspace, shard=share))


@pytest.mark.slow
def test_shares_that_were_killed_and_are_made_again_give_the_same_file(workspace):
    caption.run(settings(workspace, output="single.jsonl"))
    context = multiprocessing.get_context("fork")
    for share, after in (("0/3", 1), ("2/3", 2)):
        process = context.Process(target=_caption_and_die, args=(workspace, share, after))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    caption.run(settings(workspace, shard="1/3"))
    with pytest.raises(DataError, match="2 of 3 parts are not there yet: shares 0, 2") as missing:
        merge(workspace)
    assert "--shard 0/3, --shard 2/3" in (missing.value.hint or "")
    assert missing.value.exit_code == 3
    assert not (workspace / "c.jsonl").exists()
    for share, kept in (("2/3", 2), ("0/3", 2)):
        assert caption.run(settings(workspace, shard=share)).reused == kept
    assert untimed(workspace / "c.jsonl") == untimed(workspace / "single.jsonl")
    assert rejects(workspace, "c.jsonl") == rejects(workspace, "single.jsonl")
    assert not merge(workspace).parts.merged


@pytest.mark.slow
def test_rows_that_were_added_are_captioned_in_their_place_and_parts_of_two_lists_do_not_go_together(workspace):
    for index in range(2):
        caption.run(settings(workspace, shard=f"{index}/2"))
    rows = (workspace / "rows.jsonl").read_text().splitlines(keepends=True)
    added = json.dumps({"media": "media/03.png", "id": "added"}) + "\n"
    (workspace / "rows.jsonl").write_text("".join([*rows[:2], added, *rows[2:8]]))  # moves rows between shares, too
    one = caption.run(settings(workspace, shard="0/2"))
    assert one.parts is not None
    assert (one.parts.different, one.parts.merged) == ((1,), False)
    with pytest.raises(DataError, match="another list of media, another model or other settings: share 1"):
        merge(workspace)
    caption.run(settings(workspace, shard="1/2"))
    caption.run(settings(workspace, output="single.jsonl"))
    assert untimed(workspace / "c.jsonl") == untimed(workspace / "single.jsonl")
    assert rejects(workspace, "c.jsonl") == rejects(workspace, "single.jsonl")


@pytest.mark.slow
def test_more_shares_than_media_leave_empty_parts_that_count(workspace):
    media = ("media/03.png", "media/01.png")
    for index in range(3):
        caption.run(settings(workspace, *media, shard=f"{index}/3"))
    assert [json.loads(line)["media"] for line in (workspace / "c.jsonl").read_text().splitlines()] == [*media]


def test_a_second_process_on_a_part_learns_who_has_it(workspace):
    part = Part(workspace / "c.jsonl", Share(1, 2), "", None)
    held = rf"00001-of-00002\.jsonl: is being written by aurora caption \(process {os.getpid()}"
    with lock_output(part.path, "aurora caption"), pytest.raises(UsageError, match=held):
        caption.run(settings(workspace, shard="1/2"))


def test_parts_of_another_number_of_shares_and_captions_of_no_part_are_refused_not_lost(workspace):
    folder = workspace / "c.jsonl.parts"
    folder.mkdir()
    (folder / "00000-of-00005.jsonl").touch()
    with pytest.raises(UsageError, match=r"has parts of 5 shares, and this is share 1/4"):
        caption.run(settings(workspace, shard="1/4"))
    shutil.rmtree(folder)
    (workspace / "c.jsonl").write_text('{"media": "a.png", "caption": "A cat.", "made_by": "x"}\n')
    with pytest.raises(UsageError, match="were not made in shares, and would be replaced"):
        caption.run(settings(workspace, shard="1/4"))
    with pytest.raises(UsageError, match="nothing says what the parts of several processes become"):
        caption.run(caption_settings(workspace, "media", shard="1/4"))


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ([], DataError, "has no parts"),
        (["00000-of-00002.jsonl", "00000-of-00003.jsonl"], UsageError, "parts of 2 and of 3 shares"),
        (["00000-of-00002.jsonl"], DataError, "2 of 2 parts are not there yet: shares 0, 1"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_what_cannot_be_merged_is_told(tmp_path, files, error, message, dry_run):
    folder = tmp_path / "c.jsonl.parts"
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    with pytest.raises(error, match=message):
        merge(tmp_path, dry_run=dry_run)


def test_a_dry_run_counts_the_media_of_the_share(workspace):
    planned = [caption.run(settings(workspace, shard=f"{index}/4"), dry_run=True) for index in range(4)]
    assert [plan.media for plan in planned] == [4, 4, 4, 3]
    assert planned[0].lines()[0].endswith(", share 0/4")
    assert not (workspace / "c.jsonl.parts").exists()


def test_a_process_of_an_array_says_what_it_took(workspace, monkeypatch):
    said: list[str] = []
    reporter = Reporter()
    monkeypatch.setattr(reporter, "info", said.append)
    for name, value in {"TASK_ID": "2", "TASK_COUNT": "4", "TASK_MIN": "1", "TASK_MAX": "4"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_{name}", value)
    assert caption.run(settings(workspace, shard="auto"), reporter, dry_run=True).share == "1/4"
    assert caption.run(settings(workspace), reporter, dry_run=True).share is None
    assert said == [
        "share 1/4: task 2 of SLURM's array 1-4",
        "task 2 of SLURM's array 1-4: all of the work is done here; --shard auto takes share 1/4",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("imports_done")
def test_processes_of_one_machine_make_the_file_of_one_and_a_share_of_a_share_is_made_by_several(workspace):
    caption.run(settings(workspace, output="single.jsonl"))
    result = caption.run(settings(workspace, num_processes=2))
    single = rejects(workspace, "single.jsonl")
    assert (result.media, result.made, len(result.rejected), result.exit_code) == (15, 11, 2, 3)
    assert untimed(workspace / "c.jsonl") == untimed(workspace / "single.jsonl")
    assert rejects(workspace, "c.jsonl") == single
    half = caption.run(settings(workspace, output="d.jsonl", num_processes=2, shard="1/2"))
    assert half.parts is not None
    assert half.parts.missing == (0, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("imports_done")
def test_a_process_that_fails_is_told_of_and_the_others_go_on(workspace, monkeypatch):
    warned: list[str] = []
    reporter = Reporter()
    monkeypatch.setattr(reporter, "warning", warned.append)
    part = Part(workspace / "c.jsonl", Share(1, 2), "", None)
    with lock_output(part.path, "aurora caption"), pytest.raises(UsageError, match="is being written by"):
        caption.run(settings(workspace, num_processes=2), reporter)
    assert any(line.startswith("process 1: ") and line.endswith("; the others go on") for line in warned)
    assert Part(workspace / "c.jsonl", Share(0, 2), "", None).receipt.exists()
    assert not part.receipt.exists()


@pytest.mark.parametrize(
    ("process", "gpus", "visible", "seen"),
    [(0, 1, None, None), (0, 0, None, None), (2, 4, None, "2"), (5, 4, None, "1"), (1, 2, "GPU-a, GPU-b", "GPU-b")],
)
def test_each_process_sees_one_gpu(process, gpus, visible, seen):
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    use_gpu(process, gpus, environ)
    assert environ.get("CUDA_VISIBLE_DEVICES") == seen
