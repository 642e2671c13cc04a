"""`aurora demo` from beginning to end with few images and steps: its report, its second run, and a kill at any step.

The accuracy of the full demo is measured by `make demo`; here the captions need not be right.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aurora_cli.constants import STAGES
from aurora_cli.demo.run import PIPELINE
from aurora_cli.demo.workspace import MIRROR
from aurora_cli.io.atomic import remove

SMALL = {
    "AURORA_DEMO__IMAGES": "40",
    "AURORA_DEMO__VIDEOS": "20",
    "AURORA_DEMO__HELD_OUT": "3",
    "AURORA_TRAIN__MAX_STEPS": "4",
    "AURORA_CHECKPOINT__EVERY": "1",
    "AURORA_DATA__WORKERS": "0",
    "AURORA_CAPTION__MAX_NEW_TOKENS": "10",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
LAST = {
    "caption": ("demo",),
    "convert": ("export",),
    **{f"train --stage {stage}": (f"runs/{stage}",) for stage in STAGES},
}
MADE = {"download": ("data",), "merge-tars": (), "extract": (), "tokenize": ("tokenized",), "merge-shards": (), **LAST}
"""What the steps make, in no particular order; those that write into a former one's folder have none of their own."""

COMMANDS = [" ".join(command) for command in PIPELINE]


def start(programs: Path, folder: Path, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [programs / "aurora", "demo", "--json", "--workspace", str(folder)],
        env={**os.environ, **SMALL, **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def demo(programs: Path, folder: Path, **more: str) -> tuple[dict, str]:
    """Its result, and what it said on the way; `more` are variables of its environment."""
    process = start(programs, folder, **more)
    said, log = process.communicate(timeout=400)
    assert process.returncode == 0, log
    return json.loads(said), log


def captions(folder: Path) -> dict[str, str]:
    lines = (folder / "demo" / "captions.jsonl").read_text("utf-8").splitlines()
    return {line["media"]: line["caption"] for line in map(json.loads, lines)}


def weights(folder: Path) -> bytes:
    return (folder / "export" / "huggingface" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> tuple[Path, dict]:
    """A workspace in which the demo ran to its end, undisturbed, and what it reported."""
    folder = tmp_path_factory.mktemp("demo") / "aurora-demo"
    result, log = demo(programs, folder)
    for command in COMMANDS:
        assert f"$ aurora {command}" in log
    return folder, result


def test_the_demo_ends_with_a_table_a_contact_sheet_a_loss_plot_and_a_curve(finished: tuple[Path, dict]) -> None:
    folder, result = finished
    assert set(result["images"]) == {"shape", "colour", "place"} == set(result["blank_images"])
    assert set(result["videos"]) == {"shape", "colour", "motion"} == set(result["blank_videos"])
    assert (folder / "demo" / "captions.png").is_file()
    assert (folder / "demo" / "loss.png").is_file()
    assert len(captions(folder)) == 6 + 2  # the blank image and video
    assert [step["command"] for step in result["steps"]][: len(COMMANDS)] == [f"aurora {c}" for c in COMMANDS]
    curve = json.loads((folder / "evaluation/huggingface/evaluation.json").read_text("utf-8"))["curve"]
    assert [(point["token_kept_ratio"], point["cost"]["tokens_per_frame"]) for point in curve] == [
        (1, 16),
        (0.5, 8),
        (0.25, 4),
    ]
    assert Path(result["evaluation"]).is_file()


def test_a_second_run_redoes_nothing(finished: tuple[Path, dict], programs: Path) -> None:
    folder, result = finished
    before = weights(folder), captions(folder)
    made = (folder / "runs" / "language" / "finished.json").stat().st_mtime_ns
    again, _ = demo(programs, folder)
    assert (weights(folder), captions(folder)) == before
    assert (folder / "runs" / "language" / "finished.json").stat().st_mtime_ns == made
    assert again["images"] == result["images"]
    assert again["videos"] == result["videos"]


def killed_in(programs: Path, folder: Path, command: str, wait: Callable[[], None]) -> None:
    """Start the demo, and kill -9 it after it says that it runs `command` and `wait` returns."""
    process = start(programs, folder)
    assert process.stderr is not None
    for line in process.stderr:
        if f"$ aurora {command}" in line:
            break
    else:
        pytest.fail(f"the demo never came to {command}")
    wait()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def unfinished(finished: Path, folder: Path, command: str) -> None:
    """Copy a finished workspace, without what `command` and the steps behind it made."""
    shutil.copytree(finished, folder, symlinks=True)
    names = list(MADE)
    order = {name: next(i for i, c in enumerate([*COMMANDS, "caption"]) if c.startswith(name)) for name in names}
    first = order[next(name for name in names if command.startswith(name))]
    for name, outputs in MADE.items():
        if order[name] >= first:
            for output in outputs:
                remove(folder / output)


def same_end(programs: Path, finished: Path, folder: Path) -> None:
    demo(programs, folder, AURORA_CONVERT__VERIFY="false")  # equal to weights that were verified
    assert weights(folder) == weights(finished)
    assert captions(folder) == captions(finished)


def test_killed_while_it_trains_the_demo_continues_and_ends_the_same(
    finished: tuple[Path, dict], programs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    unfinished(finished[0], folder, "train --stage language")
    first = folder / "runs" / "language" / "checkpoints" / "step-00000001"

    def until_a_checkpoint() -> None:
        deadline = time.monotonic() + 100
        while not first.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert first.exists()

    killed_in(programs, folder, "train --stage language", until_a_checkpoint)
    same_end(programs, finished[0], folder)


@pytest.mark.soak
@pytest.mark.parametrize("delay_s", [0.0, 0.7, 2.5, 6.0])
@pytest.mark.parametrize("command", [*COMMANDS, "caption"])
def test_killed_at_any_step_the_demo_continues_and_ends_the_same(
    finished: tuple[Path, dict], programs: Path, tmp_path: Path, command: str, delay_s: float
) -> None:
    folder = tmp_path / "killed"
    unfinished(finished[0], folder, command)
    killed_in(programs, folder, command, lambda: time.sleep(delay_s))
    same_end(programs, finished[0], folder)


@pytest.mark.soak
@pytest.mark.parametrize("delay_s", [0.5, 1.0, 2.0, 4.0])
def test_killed_while_it_draws_the_demo_begins_again(
    finished: tuple[Path, dict], programs: Path, tmp_path: Path, delay_s: float
) -> None:
    process = start(programs, tmp_path / "new")
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    same_end(programs, finished[0], tmp_path / "new")


def test_the_steps_are_those_of_the_contracts_script() -> None:
    assert [re.sub(" --.*", "", command) for command in COMMANDS] == [
        "download", "merge-tars", "extract", "tokenize", "merge-shards", "train", "train", "train",
        "convert", "convert", "convert",
    ]  # fmt: skip
    assert MIRROR == "mirror"
