"""Interpreters that begin with torch and transformers imported: importing them is most of what a short command costs.

A server (`server.py`) imports them once. The `aurora` and the `python` of a folder for PATH hand it their arguments,
their folder, their environment and their streams (`client.py`); it forks a process that does the work, and whose end is
theirs: exit code, signals, kill -9. What a test of imports, of light commands or of distributed faults starts, begins
in an interpreter of its own.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent

AURORA = """#!/bin/sh
exec "{python}" -IS "{client}" "{socket}" -m aurora_cli "$@"
"""
PYTHON = """#!/bin/sh
case "$1 $2 $3" in
    "-m aurora_cli"* | "-u -m aurora_cli"* | "-  " | "-c "* | [!-]*.py*) ;;
    "-m torch.distributed.run"* | "-m deepspeed.launcher"* | "-u -m deepspeed.launcher"*) ;;
    *) exec "{python}" "$@" ;;
esac
exec "{python}" -IS "{client}" "{socket}" "$@"
"""
ORDINARY = sys.executable
"""For what is to begin without imports where `sys.executable` is one of ours."""


@contextlib.contextmanager
def preloaded(**environment: str) -> Iterator[Path]:
    """A folder for the front of PATH, with `aurora` and `python`.

    `environment` has variables that imports read. What is started with others is done by an ordinary interpreter.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = {"python": ORDINARY, "client": HERE / "client.py", "socket": f"{folder}/socket"}
        for name, script in (("aurora", AURORA), ("python", PYTHON)):
            path = Path(folder) / name
            path.write_text(script.format(**words), "utf-8")
            path.chmod(0o755)
        server = subprocess.Popen(
            [ORDINARY, str(HERE / "server.py"), words["socket"], f"{folder}/python"],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert server.stdout is not None
            assert b"ready\n" in server.stdout, "DeepSpeed says things before"
            yield Path(folder)
        finally:
            server.communicate(b"", timeout=60)
