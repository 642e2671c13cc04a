"""`client.py SOCKET ARGUMENT...`: have `python ARGUMENT...` done by a process of the server, and end as it ends."""

import json
import os
import signal
import socket
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main(path: str, arguments: list[str]) -> None:
    """Does not return: exits, or ends by the signal that ended the work.

    The answers of the server are a line each: `refused`, or `ended CODE` with what `waitstatus_to_exitcode` gives.
    """
    files = [file for file in map(int, os.listdir("/proc/self/fd")) if is_open(file)]  # noqa: PTH208
    work = {
        "files": files,
        "arguments": arguments,
        "folder": os.getcwd(),  # noqa: PTH109 (pathlib takes as long to import as Python to start)
        "environment": dict(os.environ),
    }
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        for number in SIGNALS:
            signal.signal(number, lambda number, _: server.send(bytes([number])))
        message = json.dumps(work).encode()
        socket.send_fds(server, [len(message).to_bytes(8, "little")], files)
        server.sendall(message)
        answer = server.makefile().readline().split()
    if answer == ["refused"]:
        os.execv(sys.executable, [sys.executable, *arguments])
    code = int(answer[1])
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def is_open(file: int) -> bool:
    """Whether a file is open: not the one that the list of them was read from."""
    try:
        os.fstat(file)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
