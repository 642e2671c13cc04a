"""A worker's last words reach the process that started it."""

import sys
from pathlib import Path

import pytest

from aurora_cli.console import SILENT
from aurora_cli.errors import HostError
from aurora_cli.training.processes import launcher

FULL = Path("/dev/full")
PROGRAM = """
from aurora_cli.errors import HostError
from aurora_cli.training.processes.worker import serve

def work(reporter):
    raise HostError("the disk is full", hint="Make space.")  # its traceback goes into the log

serve(work)
"""


@pytest.mark.skipif(not FULL.is_char_device(), reason="there is no /dev/full here")
def test_an_error_is_told_where_not_even_the_workers_log_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "rank-0.log").symlink_to(FULL)
    with pytest.raises(HostError, match="the disk is full") as caught:
        launcher.run_workers([sys.executable, "-c", PROGRAM], 1, logs=tmp_path, reporter=SILENT)
    assert caught.value.hint == "Make space."


def test_the_text_of_rank_0_is_the_result(tmp_path: Path) -> None:
    program = """
import os
from aurora_cli.training.processes.worker import serve

serve(lambda reporter: "the text of rank " + os.environ["RANK"])
"""
    result = launcher.run_workers([sys.executable, "-c", program], 2, logs=tmp_path, reporter=SILENT)
    assert result == "the text of rank 0"


def test_a_worker_that_somebody_kills_is_the_cause_and_what_another_says_of_it_is_not(tmp_path: Path) -> None:
    program = """
import os, signal, time
from aurora_cli.errors import HostError
from aurora_cli.training.processes.worker import serve

def work(reporter):
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    raise HostError("rank 1 has ended")

serve(work)
"""
    with pytest.raises(HostError, match="the worker of rank 1 was killed by SIGKILL"):
        launcher.run_workers([sys.executable, "-c", program], 2, logs=tmp_path, reporter=SILENT)
