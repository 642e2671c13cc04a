"""Ctrl-C in the middle of `aurora caption`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aurora_cli.pipeline.caption.command import run
from tests.captioners import GOLDEN, caption_settings, make_runs

pytestmark = pytest.mark.usefixtures("imports_done")
MEDIA = 600
NEW_TOKENS = 4


def start(workspace: Path) -> "subprocess.Popen[str]":
    words = ("media", "--model", "runs/language", "--output", "captions.jsonl", "--batch-size", "1", "--device", "cpu")
    return subprocess.Popen(
        [sys.executable, "-m", "aurora_cli", "caption", *words, "--max-new-tokens", str(NEW_TOKENS)],
        cwd=workspace,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_captions_so_far_are_kept_and_the_next_call_makes_the_others(tmp_path: Path) -> None:
    make_runs(tmp_path)
    (tmp_path / "media").mkdir()
    for number in range(MEDIA):
        shutil.copy(GOLDEN / "pixels" / "images" / "grey_90x70.png", tmp_path / "media" / f"{number:03d}.png")
    output = tmp_path / "captions.jsonl"
    process = start(tmp_path)
    while process.poll() is None and (not output.exists() or output.read_bytes().count(b"\n") < 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    shown, log = process.communicate(timeout=120)
    assert process.returncode == 130, log
    assert "interrupted; the work so far is safe" in log
    assert "Traceback" not in log
    assert shown == ""
    kept = output.read_bytes()
    lines = [json.loads(line) for line in kept.splitlines()]
    assert kept.endswith(b"\n")
    assert [line["media"] for line in lines] == [f"media/{number:03d}.png" for number in range(len(lines))]
    assert 3 <= len(lines) < MEDIA

    settings = caption_settings(
        tmp_path, "media", model="runs/language", output=output, max_new_tokens=NEW_TOKENS, device="cpu"
    )
    result = run(settings)
    assert (result.reused, len(result.captions)) == (len(lines), MEDIA)
    assert output.read_bytes().startswith(kept)
