"""What DeepSpeed itself saves from two ranks converts to the weights that one process trains."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.pipeline.convert.command import run
from tests.captioners import convert_settings, make_runs
from tests.distributed import zero_folders
from tests.distributed.zero_folders import STAGES, ZERO_STAGES


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A folder with all that two ranks saved."""
    root = tmp_path_factory.mktemp("zero")
    make_runs(root)
    shutil.copytree(root / "runs" / "projection" / "initial", root / "initial")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, zero_folders.__file__, str(root)],
            env=os.environ | world | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return root


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("zero", ZERO_STAGES)
def test_two_ranks_folder_converts_to_what_one_process_trains(saved, stage, zero):
    settings = convert_settings(
        saved, checkpoint=f"{stage}-zero{zero}", base="initial", output=Path(f"out/{stage}-{zero}"), verify=False
    )
    found = {name: tensor.read() for name, tensor in open_checkpoint(run(settings).output).tensors.items()}
    initial = {name: tensor.read() for name, tensor in open_checkpoint(saved / "initial").tensors.items()}
    trained = {names.canonical(name): one for name, one in zero_folders.train_alone(saved, stage).items()}
    assert found.keys() == initial.keys()
    for name, tensor in found.items():
        if name in trained:
            torch.testing.assert_close(tensor, trained[name], atol=2e-5, rtol=0, msg=name)
        else:
            assert torch.equal(tensor, initial[name]), name
    assert any(not torch.equal(found[name], initial[name]) for name in trained)
