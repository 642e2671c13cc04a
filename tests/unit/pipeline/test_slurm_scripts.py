"""The batch scripts for SLURM: read by shellcheck, and run, with an `srun` that starts the tasks on this machine."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from aurora_cli.cli.app import run
from aurora_cli.config.presets import presets_folder
from tests.distributed.tiny_workspace import make, settings
from tests.run_files import json_lines

SCRIPTS = sorted((presets_folder() / "slurm").glob("*.sbatch"))
NAMES = [script.name for script in SCRIPTS]

SRUN = """#!/bin/bash
# As srun does: SLURM_NTASKS tasks, each with its number; ends when all have, with the highest code.
code=0
for task in $(seq 0 $((SLURM_NTASKS - 1))); do
    SLURM_STEP_ID=0 SLURM_STEP_NODELIST=localhost SLURM_STEP_NUM_TASKS=$SLURM_NTASKS \
        SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
done
for task in $(jobs -p); do wait "$task" || code=$?; done
exit "$code"
"""


def sbatch(script: str, *arguments: str, root: Path, programs: Path, **variables: str) -> None:
    """Run a script as SLURM runs it: from the folder where it was handed in, with a job's variables."""
    folder = root / ".bin"
    folder.mkdir(exist_ok=True)
    (folder / "srun").write_text(SRUN)
    (folder / "srun").chmod(0o755)
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_SUBMIT_DIR": str(root), "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
    environment = {**os.environ, "PATH": f"{folder}:{programs}:{os.environ['PATH']}", **job, **variables}
    command = ["bash", str(root / "slurm" / script), *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cluster")
    make(root)
    shutil.rmtree(root / "tokenized/language/images")
    chosen = settings(root, "language", after=None, max_steps=2)
    tree = chosen.model_dump(mode="json", include={"model", "merging", "train", "data", "checkpoint"})
    (root / "aurora.yaml").write_text(yaml.safe_dump({**tree, "tokenize": {"batch_size": 6}}))
    assert run(["presets", "--workspace", str(root), "--copy", "slurm"]) == 0
    return root


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_shellcheck_finds_nothing(script: Path) -> None:
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.stdout == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_what_a_script_asks_slurm_for_comes_before_its_first_command(script: Path) -> None:
    """SLURM reads no `#SBATCH` behind a command."""
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    asked = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert asked
    assert max(asked) < first
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", lines[number]) for number in asked)


def test_scripts_are_copied_once_and_what_is_there_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = ["presets", "--workspace", str(tmp_path), "--copy", "slurm"]
    assert run([*copy, "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert run(copy) == 0
    assert sorted(path.name for path in (tmp_path / "slurm").iterdir()) == NAMES
    capsys.readouterr()
    assert run(copy) == 0
    assert "nothing to do" in capsys.readouterr().out
    (tmp_path / "slurm" / NAMES[0]).write_text("mine")
    assert run(copy) == 2
    assert "aurora presets --copy slurm FOLDER" in capsys.readouterr().err
    assert run([*copy, "others"]) == 0
    assert (tmp_path / "others" / NAMES[0]).is_file()


@pytest.mark.slow
def test_an_array_tokenizes_a_subset_two_tasks_train_on_it_and_an_array_captions_with_that(
    root: Path, programs: Path
) -> None:
    here: Any = {"root": root, "programs": programs}
    tasks = [{"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": "2"} for task in ("0", "1")]
    for task in tasks:
        sbatch("tokenize.sbatch", SPLIT="language", SUBSET="images", **here, **task)
    assert run(["merge-shards", "--workspace", str(root)]) == 0
    assert len(list((root / "tokenized/language/images/shards").glob("part-*"))) == 4
    sbatch("train.sbatch", STAGE="language", **here, SLURM_NTASKS="2")
    assert [line["step"] for line in json_lines(root / "runs/language/metrics.jsonl")] == [1, 2]
    media = [f"data/language/images/{number}.png" for number in range(3)]
    (root / "media.jsonl").write_text("".join(json.dumps({"media": one}) + "\n" for one in media))
    job = {"MANIFEST": "media.jsonl", "OUTPUT": "captions.jsonl", **here}
    again = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "1", "SHARES": "2"}  # sbatch --array=1
    for task in (tasks[0], again):
        assert not (root / "captions.jsonl").exists()
        sbatch("caption.sbatch", "--max-new-tokens", "2", **job, **task)
    assert [line["media"] for line in json_lines(root / "captions.jsonl")] == media
