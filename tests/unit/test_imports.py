"""What is imported at once is left alone by the garbage collector, which then goes on as before; what a command does
not need is not imported for it, and can be imported behind it as ever."""

import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aurora_cli.imports import imported_at_once, without_compiler

WRITTEN = Path(__file__).parents[1] / "fixtures" / "workspace-0.1.0"


@pytest.fixture(autouse=True)
def thawed():
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("collects", [True, False])
def test_nothing_is_collected_meanwhile_and_the_collector_is_left_as_it_was(collects):
    if not collects:
        gc.disable()
    before = gc.get_freeze_count()
    with imported_at_once():
        assert not gc.isenabled()
        made = [[] for _ in range(10_000)]
    assert gc.isenabled() == collects
    assert gc.get_freeze_count() >= before + len(made)


def test_after_an_import_that_fails_too():
    with pytest.raises(ModuleNotFoundError), imported_at_once():
        import no_such_module  # noqa: F401  # pyrefly: ignore[missing-import]
    assert gc.isenabled()


NOT_FOR_A_COMMAND = ("torch._dynamo", "torch.distributed.tensor", "sympy", "scipy", "pandas", "sklearn", "torchvision")
COMMAND = """
import json, sys
from aurora_cli.cli.app import run
from aurora_cli.imports import in_own_process

in_own_process()
code = run(sys.argv[1:])
after_command = sorted(sys.modules)

import scipy.optimize, torch
from torch.distributed.tensor import DTensor
from transformers import masking_utils

def doubled(x):
    return x + x

compiled = torch.compile(doubled, backend="eager", fullgraph=True)
with masking_utils.TransformGetItemToIndex():
    pass
print(json.dumps([code, after_command, compiled(torch.tensor(2)).item(), DTensor.__name__,
                  scipy.optimize.linear_sum_assignment([[0, 1], [1, 0]])[1].tolist()]), file=sys.stderr)
"""
CAPTION = ("caption", "held-out/pictures/0000.png", "--model", "export/huggingface", "--max-new-tokens", "1")
TRAIN = ("train", "--stage", "language", "--max-steps", "4", "--set", "data.workers=0")


@pytest.mark.slow
@pytest.mark.parametrize("words", [CAPTION, TRAIN], ids=["caption", "train"])
def test_a_command_imports_no_compiler_and_all_can_be_imported_behind_it(tmp_path, words):
    workspace = shutil.copytree(WRITTEN, tmp_path / "workspace")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words, "--workspace", str(workspace)], cwd=workspace,
        env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    code, modules, doubled, sharded, assigned = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    assert {"torch", "transformers.modeling_utils"} <= set(modules)
    assert not set(NOT_FOR_A_COMMAND) & set(modules)
    assert (doubled, sharded, assigned) == (4, "DTensor", [0, 1])


def test_a_process_that_is_more_than_a_command_imports_as_ever():
    before = dict(sys.modules)
    with without_compiler():
        assert dict(sys.modules) == before
