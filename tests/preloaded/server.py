"""`server.py SOCKET PYTHON`: import what commands import, then fork a process for each client, until stdin ends.

PYTHON is what these processes take for the interpreter when they start others of their kind.
"""

import atexit
import ctypes
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import struct
import sys
import threading
from pathlib import Path

READ_AT_IMPORT = ("HF_", "TORCH", "PYTORCH", "TRANSFORMERS", "OMP_", "MKL_", "ATEN_", "PYTHON", "DS_", "CUDA", "ARROW")
"""Variables with these beginnings decide what an import gives: another value needs another interpreter."""

ANY = {
    "HF_HUB_OFFLINE",  # is given afterwards
    "TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS",  # how much is written to stderr
    # Libraries and commands set them where the tests run.
    "DS_ACCELERATOR", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "PYTORCH_NVML_BASED_CUDA_CHECK",
}  # fmt: skip

MOST_FILES = 64

IMPORTED = (
    "av",
    "datasets",
    "deepspeed.runtime.zero.stage3",
    "matplotlib.figure",
    "networkx",
    "peft",
    "rich.progress",
    "tensorboardX",
    "torch._inductor.compile_fx",
    "transformers.models.clip.modeling_clip",
    "transformers.models.llama.modeling_llama",
    "transformers.models.llava.processing_llava",
    "aurora_cli.cli.app",
    "aurora_cli.cli.builder",
    "aurora_cli.pipeline.train.process",
    "aurora_cli.pipeline.caption.command",
    "aurora_cli.pipeline.convert.command",
)


def decisive(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_IMPORT) and name not in ANY}


def serve(path: str, own: dict[str, str]) -> dict | None:
    """Give each client a process; returns in these processes with their work, and in the server with None."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # their guardians are nobody's to wait for
        while True:
            readable, _, _ = select.select([listener, sys.stdin], [], [])
            if listener not in readable:
                return None
            client, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                return guard(client, own)
            client.close()


def guard(client: socket.socket, own: dict[str, str]) -> dict:
    """Start the work of a client, pass signals on to it, kill it where the client is killed; returns in the work."""
    header, files, _, _ = socket.recv_fds(client, 8, MOST_FILES)
    message = client.makefile("rb").read(int.from_bytes(header, "little"))
    work = json.loads(message)
    if decisive(work["environment"]) != own:
        client.sendall(b"refused\n")
        os._exit(0)
    pid = os.fork()
    if pid == 0:
        enter_namespaces(client)
        client.close()
        place(files, work["files"])
        return work
    for file in (*files, 0, 1, 2):
        os.close(file)
    ended = os.pidfd_open(pid)
    while ended not in (readable := select.select([client, ended], [], [])[0]):
        if client in readable:
            for number in client.recv(16) or [signal.SIGKILL]:
                os.kill(pid, number)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        client.sendall(f"ended {code}\n".encode())
    finally:
        os._exit(0)


def enter_namespaces(client: socket.socket) -> None:
    """Be on the client's host, which may be a network namespace with a name of its own (tests/hosts.py)."""
    pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    for kind in ("net", "uts", "mnt"):
        theirs = Path(f"/proc/{pid}/ns/{kind}")
        if theirs.readlink() != Path(f"/proc/self/ns/{kind}").readlink():
            with open(theirs) as namespace:
                assert ctypes.CDLL(None).setns(namespace.fileno(), 0) == 0


def place(files: list[int], numbers: list[int]) -> None:
    """Give open files the numbers that they had where they came from."""
    above = max((*files, *numbers)) + 1
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, above) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(moved, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)


def do(work: dict, python: str) -> None:
    """What the interpreter does for `[-u] -m MODULE ARGUMENT...`, `-c CODE`, `-` and `SCRIPT.py ARGUMENT...`."""
    os.chdir(work["folder"])
    os.environ.clear()
    os.environ.update(work["environment"])
    sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8")
    multiprocessing.set_executable(sys.executable)
    sys.executable = python
    sys.modules["huggingface_hub.constants"].__dict__["HF_HUB_OFFLINE"] = os.environ.get("HF_HUB_OFFLINE") == "1"
    how, *rest = work["arguments"]
    if how == "-u":
        sys.stdout.reconfigure(write_through=True)
        how, *rest = rest
    if how == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif how in ("-", "-c"):
        code = sys.stdin.read() if how == "-" else rest.pop(0)
        sys.argv = [how, *rest]
        exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        sys.argv = [how, *rest]
        sys.path.insert(0, str(Path(how).parent))
        runpy.run_path(how, run_name="__main__")


def end(reason: object) -> None:
    """As an interpreter ends, but that it takes nothing apart: that would copy every page that is shared."""
    if not isinstance(reason, int | None):
        print(reason, file=sys.stderr)
    threading._shutdown()  # (waits for threads)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((reason or 0) & 0xFF if isinstance(reason, int | None) else 1)


if __name__ == "__main__":
    own = decisive(dict(os.environ))  # before imports, which set some
    sys.path[0] = str(Path(__file__).parents[2])
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection would write on every page that is shared
    given = serve(sys.argv[1], own)
    if given is not None:
        ended = 0
        try:
            do(given, sys.argv[2])
        except SystemExit as reason:
            ended = reason.code
        end(ended)
