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
case "$1 $2" in
    "-m aurora_cli"* | "- " | "-c "* | [!-]*.py*) exec "{python}" -IS "{client}" "{socket}" "$@" ;;
    *) exec "{python}" "$@" ;;
esac
"""


@contextlib.contextmanager
def preloaded(**environment: str) -> Iterator[Path]:
    """A folder for the front of PATH, with `aurora` and `python`.

    `environment` has variables that imports read. What is started with others is done by an ordinary interpreter.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = {"python": sys.executable, "client": HERE / "client.py", "socket": f"{folder}/socket"}
        for name, script in (("aurora", AURORA), ("python", PYTHON)):
            path = Path(folder) / name
            path.write_text(script.format(**words), "utf-8")
            path.chmod(0o755)
        server = subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), words["socket"], f"{folder}/python"],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield Path(folder)
        finally:
            server.communicate(b"", timeout=60)


_interpreters: list[str] = []


@contextlib.contextmanager
def interpreting() -> Iterator[None]:
    """Let `interpreter` give such a one."""
    with preloaded() as folder:
        _interpreters.append(str(folder / "python"))
        try:
            yield
        finally:
            _interpreters.pop()


def interpreter() -> str:
    """What runs a script: one that begins with its imports done, if there is one."""
    return _interpreters[-1] if _interpreters else sys.executable
