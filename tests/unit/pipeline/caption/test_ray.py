"""`aurora caption --engine ray`: whoever captions which media, whatever is killed, the file is one process's.

What takes Ray itself is skipped where it is not installed (`pip install 'aurora-cli[ray]'`): it is no part of `[dev]`.
"""

import importlib.util
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.captioning.engines import ray_actor, ray_setup
from aurora_cli.captioning.engines.local import RowsOf
from aurora_cli.captioning.engines.ray_actor import CaptionActor, Task, Tries, table_of
from aurora_cli.captioning.engines.ray_engine import tasks_of
from aurora_cli.captioning.job.rows import Row, row_of
from aurora_cli.config.settings import CaptionSettings, Settings
from aurora_cli.console import Reporter
from aurora_cli.data.media.listing import Medium
from aurora_cli.errors import DataError, HostError, UsageError
from aurora_cli.io.locks import lock_output
from aurora_cli.pipeline.caption import command as caption
from tests.captioners import BAD_MEDIUM, caption_settings, make_list, rejects, untimed

with_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'aurora-cli[ray]'"
)
MEDIA = 60


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Images of which one is none, and a list of them in which rows are repeated and bad."""
    root = tmp_path_factory.mktemp("ray")
    make_list(root, MEDIA)
    return root


def settings(workspace: Path, *media: str, output: str, **options: Any) -> Settings:
    usual = {"max_new_tokens": 4, "batch_size": 2, "device": "cpu"}
    if not media:
        options["manifest"] = Path("rows.jsonl")
    return caption_settings(workspace, *media, output=Path(output), **{**usual, **options})


def rows_named(count: int) -> list[Row]:
    return [row_of(Medium(f"{n}.png", f"{n}.png", "image"), number=n + 1) for n in range(count)]


@given(st.integers(0, 300), st.integers(1, 9), st.integers(1, 9))
def test_tasks_have_each_row_once_in_order_and_every_actor_has_one_where_there_are_enough(count, actors, batch_size):
    rows = rows_named(count)
    tasks = list(tasks_of(iter(rows), actors, batch_size))
    assert [row.medium.name for task in tasks for row in task.rows] == [row.medium.name for row in rows]
    assert [task.number for task in tasks] == list(range(len(tasks)))
    assert all(0 < len(task.rows) <= 4 * batch_size and task.rows[0].medium.path.is_absolute() for task in tasks)
    assert len(tasks) >= min(count, actors) / 2


@pytest.mark.parametrize("found", [None, types.SimpleNamespace(origin=None)])  # nothing; a folder called `ray`
def test_without_ray_the_line_to_type_is_said(workspace, monkeypatch, found):
    monkeypatch.setattr(ray_setup.importlib.util, "find_spec", lambda name: found)
    with pytest.raises(HostError, match="takes ray\\[data\\], not installed here") as missing:
        caption.run(settings(workspace, output="none.jsonl", engine="ray"))
    assert missing.value.hint == "pip install 'aurora-cli[ray]'"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": None}, "nothing says where the captions of its processes go"),
        ({"device_map": "auto"}, "--device-map: spreads a model over several devices"),
        ({"device": "cuda:1"}, "--device cuda:1: Ray says which of the GPUs"),
    ],
)
def test_what_does_not_go_with_ray_is_refused_before_it_starts(monkeypatch, options, message):
    monkeypatch.setattr(ray_setup.importlib.util, "find_spec", lambda name: types.SimpleNamespace(origin=name))
    with pytest.raises(UsageError, match=message):
        ray_setup.check_ray(CaptionSettings(**{"output": "c.jsonl", "engine": "ray", **options}))


def test_the_page_is_no_work_for_a_cluster(workspace):
    with pytest.raises(UsageError, match=r"caption\.engine would say nothing"):
        caption.run(caption_settings(workspace, serve=True, engine="ray"))


def test_an_address_where_nobody_is_is_told_at_once_and_a_wrong_one_too():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        with pytest.raises(HostError, match="no Ray cluster answers there"):
            ray_setup.check_address(f"127.0.0.1:{taken.getsockname()[1]}")
    for address in ("head", "ray://head:10001", ":6379", "head:port"):
        with pytest.raises(UsageError, match="HOST:PORT of a cluster's head was expected"):
            ray_setup.check_address(address)


@pytest.mark.parametrize(
    ("options", "gpus", "own_cpus", "pool"),
    [
        ({}, 0, 8, (1, False, 8, 0)),
        ({"num_processes": 16}, 0, 8, (16, False, 1, 0)),
        ({"num_processes": 3}, 8, None, (3, False, 1, 1)),
        ({"device": "cpu"}, 8, None, (1, False, 1, 0)),
        ({"device": "cuda"}, 0, None, (1, True, 1, 1)),
        ({"device": "cuda"}, 0, 8, (1, True, 8, 0)),  # there never will be one: the captioner says so
    ],
)
def test_an_actor_has_a_gpu_where_there_are_any(options, gpus, own_cpus, pool):
    assert ray_setup.pool_of(CaptionSettings(**options), gpus, own_cpus) == pool


class Handle:
    """A handle of `Tries` in this process."""

    def __init__(self, tries: Tries) -> None:
        self.begin, self.end = (types.SimpleNamespace(remote=method) for method in (tries.begin, tries.end))


@pytest.fixture
def no_cluster(monkeypatch) -> Handle:
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(get=lambda result: result))  # pyrefly: ignore
    return Handle(Tries())


def answer_of(actor: CaptionActor, task: Task) -> ray_actor.TaskResult:
    return pickle.loads(actor(table_of(task)).column(ray_actor.COLUMN)[0].as_py())


@pytest.mark.slow
def test_an_actor_captions_its_rows_and_says_what_none_is(workspace, no_cluster):
    own = settings(workspace, "media", output="actor.jsonl")
    media = [Medium(f"media/{n:02d}.png", str(workspace / "media" / f"{n:02d}.png"), "image") for n in range(6)]
    task = Task(0, [row_of(medium, number=number) for number, medium in enumerate(media, start=1)])
    answer = answer_of(CaptionActor(own, "runs/language", RowsOf(None, numbered=True), 1, no_cluster), task)
    assert answer.error is None
    assert answer.tries == 1
    assert [each.media for each in answer.batch.captions] == [m.name for n, m in enumerate(media) if n != BAD_MEDIUM]
    assert [(each.media, each.line) for each in answer.batch.uncaptioned] == [(media[BAD_MEDIUM].name, BAD_MEDIUM + 1)]


@pytest.mark.slow
def test_an_error_of_a_user_is_an_answer_and_media_that_kill_their_process_are_not_tried_for_ever(
    workspace, no_cluster
):
    own = settings(workspace, "media", output="actor.jsonl")
    nowhere = CaptionActor(own, str(workspace / "media"), RowsOf(None, numbered=False), 1, no_cluster)
    assert isinstance(answer_of(nowhere, Task(1, rows_named(1))).error, DataError)
    for _ in range(ray_actor.MAX_TRIES):
        no_cluster.begin.remote(2)
    error = answer_of(nowhere, Task(2, rows_named(3))).error
    assert isinstance(error, HostError)
    assert error.message == "the process that captions 0.png (to 2.png, 3 media) was killed 4 times"


@with_ray
@pytest.mark.slow
@pytest.mark.parametrize("media", [(), ("media",)])
def test_ray_makes_the_file_of_one_process(workspace, media):
    names = [f"{each}-{len(media)}.jsonl" for each in ("single", "ray")]
    single = caption.run(settings(workspace, *media, output=names[0]))
    result = caption.run(settings(workspace, *media, output=names[1], engine="ray", num_processes=2))
    assert untimed(workspace / names[1]) == untimed(workspace / names[0])
    assert rejects(workspace, names[1]) == rejects(workspace, names[0])
    assert (result.made, result.exit_code) == (single.made, 3)
    again = caption.run(settings(workspace, *media, output=names[1], engine="ray"))
    assert (again.made, again.reused) == (0, single.made)


@with_ray
@pytest.mark.slow
def test_shares_by_ray_and_by_one_process_make_one_file(workspace):
    caption.run(settings(workspace, output="single.jsonl"))
    for share, engine in (("0/2", "ray"), ("1/2", "local")):
        part = caption.run(settings(workspace, output="shares.jsonl", engine=engine, shard=share))
    assert part.parts.merged
    assert untimed(workspace / "shares.jsonl") == untimed(workspace / "single.jsonl")
    assert rejects(workspace, "shares.jsonl") == rejects(workspace, "single.jsonl")


def kill_actors(output: Path) -> None:
    """As soon as there are captions: all of them, for one alone may have nothing to do just then."""
    while not (output.exists() and output.stat().st_size):
        time.sleep(0.05)
    actors = [each for each in psutil.Process().children(recursive=True) if each.name().startswith("ray::MapWorker")]
    for actor in actors:
        actor.kill()


@with_ray
@pytest.mark.slow
def test_media_of_actors_that_were_killed_are_captioned_once_by_others(workspace, monkeypatch):
    warned: list[str] = []
    reporter = Reporter()
    monkeypatch.setattr(reporter, "warning", warned.append)
    caption.run(settings(workspace, output="single.jsonl"))
    killer = threading.Thread(target=kill_actors, args=(workspace / "killed.jsonl",))
    killer.start()
    caption.run(settings(workspace, output="killed.jsonl", engine="ray", num_processes=2), reporter)
    killer.join()
    assert untimed(workspace / "killed.jsonl") == untimed(workspace / "single.jsonl")
    assert any("a process was lost; its " in line for line in warned)


@with_ray
@pytest.mark.slow
def test_ctrl_c_keeps_what_there_is_ends_all_processes_and_the_next_call_makes_the_others(workspace):
    caption.run(settings(workspace, "media", output="whole.jsonl"))
    words = ["media", "--output", "stopped.jsonl", "--batch-size", "2", "--device", "cpu", "--max-new-tokens", "4"]
    process = subprocess.Popen(
        [sys.executable, "-m", "aurora_cli", "caption", *words, "--engine", "ray"],
        cwd=workspace,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (workspace / "stopped.jsonl").exists() or not (workspace / "stopped.jsonl").stat().st_size:
        assert process.poll() is None
        time.sleep(0.05)
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    shown, log = process.communicate(timeout=120)
    assert process.returncode == 130, log
    assert shown == ""
    assert "interrupted; the work so far is safe" in log
    assert "raylet" not in log
    assert psutil.wait_procs(started, timeout=20)[1] == []
    with lock_output(workspace / "stopped.jsonl", "a test"):
        kept = (workspace / "stopped.jsonl").read_bytes()
    caption.run(settings(workspace, "media", output="stopped.jsonl"))  # without Ray, this time
    assert (workspace / "stopped.jsonl").read_bytes().startswith(kept)
    assert untimed(workspace / "stopped.jsonl") == untimed(workspace / "whole.jsonl")
