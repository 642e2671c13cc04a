"""Two hosts on this machine: network namespaces with a cable between them, names of their own, and one disk.

Each knows the other by name, and itself, as Debian has it, as 127.0.1.1: where nobody else would find it.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ADDRESSES = ("10.77.0.1", "10.77.0.2")
CABLE = "cable0"
FILES = Path("/etc/netns")
"""`ip netns exec` lays what is here, in a folder of the namespace's name, over /etc."""


@dataclass(frozen=True)
class Host:
    """One of them."""

    namespace: str
    name: str
    address: str

    def command(self, *command: str) -> list[str]:
        """`command`, as it is typed there."""
        begin = f'hostname {self.name}; exec "$@"'
        return ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "sh", "-c", begin, "sh", *command]

    def cut_off(self) -> None:
        """Nothing comes in or goes out any more, and nobody is told: no connection is reset."""
        _ip("-n", self.namespace, "link", "set", CABLE, "down")


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Both, until the block ends. Skips the test where that cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces are root's to make")
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("ip (iproute2) or unshare is not installed")
    one, other = (
        Host(f"aurora-{os.getpid()}-{number}", f"node{number}", address)
        for number, address in enumerate(ADDRESSES, start=1)
    )
    try:
        try:
            _ip("netns", "add", one.namespace)
            _ip("netns", "add", other.namespace)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        _ip("link", "add", CABLE, "netns", one.namespace, "type", "veth", "peer", CABLE, "netns", other.namespace)
        for host in (one, other):
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", CABLE)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
            _ip("-n", host.namespace, "link", "set", CABLE, "up")
        for host, neighbour in ((one, other), (other, one)):
            folder = FILES / host.namespace
            folder.mkdir(parents=True)
            names = f"127.0.0.1 localhost\n127.0.1.1 {host.name}\n{neighbour.address} {neighbour.name}\n"
            (folder / "hosts").write_text(names)
        yield one, other
    finally:
        for host in (one, other):
            shutil.rmtree(FILES / host.namespace, ignore_errors=True)
            subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def started(
    commands: Iterable[tuple[Host, Sequence[str], dict[str, str]]],
) -> "list[subprocess.Popen[str]]":
    """Each on its host, with its variables beside those of this process."""
    return [
        subprocess.Popen(
            host.command(*command),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        )
        for host, command, variables in commands
    ]
