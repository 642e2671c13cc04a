"""lmms-eval on the task of docs/evaluating.md: through aurora's server it writes the captions of `aurora caption`, and
in its own process, as plain LLaVA, those with nothing merged.

Skips itself where lmms-eval is not installed; it wants an environment of its own, as that page says.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aurora_cli.pipeline.caption import command as caption
from aurora_cli.training.processes.ranks import free_port
from tests.captioners import caption_settings
from tests.run_files import json_lines
from tests.serve_check.captions import make_export

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("lmms_eval") is None, reason="lmms-eval is not installed"),
]
PAGE = Path(__file__).parents[2] / "docs" / "evaluating.md"
QUESTION = "Describe the image."
IMAGES = 6
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner of random weights that merges half, images, and the page's task and copy of the export."""
    root = tmp_path_factory.mktemp("lmms")
    make_export(root, "clip", "llama")
    images = root / "held-out" / "images"
    images.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(IMAGES):
        levels = draw.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(levels).resize((56, 56), Image.Resampling.NEAREST).save(images / f"{number}.png")
    truth = [{"media": f"images/{number}.png", "caption": "A red circle."} for number in range(IMAGES)]
    (root / "held-out" / "truth.json").write_text(json.dumps(truth))
    section = PAGE.read_text("utf-8").partition("## lmms-eval")[2]
    for block in re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
        script = "\n".join(line for line in block.splitlines() if not line.startswith("aurora "))
        subprocess.run(["bash", "-euc", script], cwd=root, check=True)
    return root


@pytest.fixture(scope="module")
def address(workspace: Path) -> Iterator[str]:
    """Of aurora's server."""
    port = free_port()
    command = [sys.executable, "-m", "aurora_cli", "serve", "export/huggingface", "--port", str(port)]
    process = subprocess.Popen(command, cwd=workspace, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/models", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def logged(workspace: Path, model: str, arguments: str) -> dict[str, str]:
    """What lmms-eval logs as the answer about each image."""
    logs = workspace / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    command = [sys.executable, "-m", "lmms_eval", "--model", model, "--model_args", arguments]
    task = ["--include_path", "lmms_tasks", "--tasks", "aurora_held_out", "--batch_size", "1"]
    done = subprocess.run(
        [*command, *task, "--output_path", "logs", "--log_samples"],
        cwd=workspace,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    (file,) = logs.glob("*/*_samples_aurora_held_out.jsonl")
    rows = json_lines(file)
    return {row["input_media"][0]: row["filtered_resps"].strip() for row in rows}


def captions(workspace: Path, kept_ratio: float) -> dict[str, str]:
    """Those of `aurora caption`."""
    how = {"prompt": QUESTION, "max_new_tokens": 64, "token_kept_ratio": kept_ratio, "model": "export/huggingface"}
    result = caption.run(caption_settings(workspace, "held-out/images", **how))
    return {one.media.removeprefix("held-out/"): one.caption.strip() for one in result.captions}


def test_through_the_server_it_writes_the_captions_of_a_model_that_merges(workspace: Path, address: str) -> None:
    found = logged(workspace, "openai", f"base_url={address},api_key=none,model=export/huggingface,timeout=60")
    assert found == captions(workspace, 0.5)
    assert len(found) == IMAGES


def test_in_its_own_process_it_writes_those_of_one_that_does_not(workspace: Path) -> None:
    found = logged(workspace, "llava_hf", "pretrained=export/lmms-eval,device=cpu,device_map=cpu,dtype=float32")
    assert found == captions(workspace, 1.0)
    assert found != captions(workspace, 0.5)


def test_with_the_exports_own_code_every_answer_is_empty(workspace: Path) -> None:
    """The page warns of it: the processor is the export's, and the model plain LLaVA."""
    how = "pretrained=export/huggingface,device=cpu,device_map=cpu,dtype=float32,trust_remote_code=True"
    assert set(logged(workspace, "llava_hf", how).values()) == {""}
