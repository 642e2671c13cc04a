"""Every command in the docs runs, in a workspace that the tutorial made, with few images and steps."""

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import own_parts
from tests.object_storage import MISSING, s3_bucket, s3_server

ROOT = Path(__file__).parents[2]
GENERATED = {ROOT / "docs" / "reference" / name for name in ("cli.md", "settings.md")}
"""Their examples are those of `--help`: of any workspace."""
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(set((ROOT / "docs").rglob("*.md")) - GENERATED),
]
TUTORIAL = ROOT / "docs" / "tutorial.md"
SMALL = {
    "AURORA_DEMO__IMAGES": "60",
    "AURORA_DEMO__VIDEOS": "24",
    "AURORA_DEMO__HELD_OUT": "4",
    "AURORA_TRAIN__MAX_STEPS": "2",
    "AURORA_CAPTION__MAX_NEW_TOKENS": "12",
    "HF_HUB_OFFLINE": "1",
}
PAGE = {**SMALL, "AURORA_CONVERT__VERIFY": "false"}
"""The tutorial's exports are verified; those of the other pages are not once more."""

SCRIPT = """
aurora download                     # everything; --split projection --subset densefusion to begin small
aurora merge-tars
aurora extract
aurora tokenize --batch-size 100000
aurora merge-shards
aurora train --stage projection
aurora train --stage vision
aurora train --stage language
aurora convert --format huggingface
aurora caption clip.mp4
"""


def fenced(page: Path) -> list[tuple[str, str]]:
    """Language and text of a page's blocks, in their order."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[str]:
    """The blocks of a page as shell scripts; what installs, fetches or builds with make is CI's own and left to it."""
    for language, block in fenced(page):
        if language == "python":
            yield f"python - <<'END'\n{block}END"
        elif language == "sh":
            lines = [line for line in block.splitlines() if not line.startswith(("make ", "pip ", "hf "))]
            if lines:
                yield "\n".join(lines)


def shell(script: str, folder: Path, programs: Path, environment: Mapping[str, str]) -> str:
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Path:
    """Where the tutorial has been followed to its end, in one shell."""
    folder = tmp_path_factory.mktemp("tutorial")
    shell("\n".join(blocks(TUTORIAL)), folder, programs, SMALL)
    return folder / "aurora-demo"


def test_the_tutorial_runs_and_leaves_what_it_says(workspace: Path) -> None:
    for left in ("export/huggingface", "captions.jsonl", "demo/captions.png", "demo/loss.png", "runs/language"):
        assert (workspace / left).exists(), left


def test_the_whole_pipeline_is_a_script_without_a_path_and_a_second_run_of_it_does_nothing(
    workspace: Path, programs: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in workspace.rglob("*.safetensors")}
    said = shell(SCRIPT, workspace, programs, SMALL)
    assert said.lower().count("nothing to do") >= 8, said
    assert "clip.mp4: " in said
    assert {path: path.stat().st_mtime_ns for path in workspace.rglob("*.safetensors")} == before


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page != TUTORIAL and any(blocks(page))], ids=lambda p: p.stem
)
def test_every_command_of_the_page_runs(page: Path, workspace: Path, programs: Path) -> None:
    if page.stem == "own-data":
        own_parts.with_weights(workspace / "mine")
        for made, name in (("siglip", "tower"), ("smollm", "language")):
            (workspace / "mine" / made).rename(workspace / "mine" / name)
    if page.stem == "serving":
        clients_run(page, workspace, programs)
        return
    if page.stem == "object-storage":
        if MISSING:
            pytest.skip(f"the page's commands did not run: {', '.join(MISSING)} not installed")
        commands_of_buckets_run(page, workspace, programs)
        return
    for block in blocks(page):
        if "--engine ray" not in block:
            shell(block, workspace, programs, PAGE)
        elif importlib.util.find_spec("ray") is not None:  # whose workers are started by the path of this interpreter
            shell(block, workspace, Path(sys.executable).parent, PAGE)


def commands_of_buckets_run(page: Path, workspace: Path, programs: Path) -> None:
    """Against an S3 server of this machine, with a bucket as the page has it."""
    images = sorted((workspace / "held-out" / "images").glob("*.png"))[:2]
    with (
        s3_server() as server,
        pytest.MonkeyPatch.context() as patch,
        s3_bucket(server, patch, workspace / "c") as bucket,
    ):
        with tarfile.open(workspace / "media.tar", "w") as tar:
            for image, name in zip(images, "ab", strict=True):
                bucket.write(f"media/{name}.png", image.read_bytes())
                tar.add(image, f"media/{name}.png")
        shell("aurora extract --layout index media.tar", workspace, programs, PAGE)
        for name in ("media.tar", "media.tar.index"):
            bucket.write(name, (workspace / name).read_bytes())
        bucket.write("media.jsonl", b'{"media": "media/a.png"}\n{"media": "media/b.png"}\n')
        lines = [f'{{"id": "media/{name}.png", "references": ["a red ball"]}}\n' for name in "ab"]
        bucket.write("references.jsonl", "".join(lines).encode())
        for block in blocks(page):
            shell(block, workspace, programs, PAGE)


def clients_run(page: Path, workspace: Path, programs: Path) -> None:
    """The page's clients, beside the server that it speaks of. The one that needs `openai` only where that is."""
    command = [sys.executable, "-m", "aurora_cli", "serve", "--media-root", ".", "--port", "0"]
    environment = {**os.environ, **PAGE}
    with subprocess.Popen(command, cwd=workspace, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            address = next(found[0] for line in server.stderr if (found := re.search(r"http://[\d.]+:\d+", line)))
            for block in blocks(page):
                if "import OpenAI" not in block or importlib.util.find_spec("openai") is not None:
                    answer = shell(block.replace("http://127.0.0.1:8000", address), workspace, programs, PAGE)
                    assert "error" not in answer
                    assert answer.strip()
        finally:
            server.terminate()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_no_command_of_ours_stands_in_a_block_that_is_not_run(page: Path) -> None:
    shown = [block for language, block in fenced(page) if language not in ("sh", "python")]
    assert [line for block in shown for line in block.splitlines() if re.match(r"\$? *(aurora|python) ", line)] == []
