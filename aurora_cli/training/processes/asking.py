"""Whether other processes of a run are there, asked by connecting to them."""

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

PATIENCE_S = 3.0
"""A lost packet is sent again after 1 s."""
SHOWN = 8


class Peer(NamedTuple):
    """A process of the run."""

    rank: int
    host: str
    address: str
    port: int


def ask(peers: Sequence[Peer], patience_s: float = PATIENCE_S) -> tuple[list[Peer], list[Peer]]:
    """Connect to all at once: those that did not answer, and those whose host said that nobody is there."""
    silent: list[Peer] = []
    ended: list[Peer] = []
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(selectors.DefaultSelector())

        def count_in(peer: Peer, code: int) -> None:
            if code == errno.ECONNREFUSED:
                ended.append(peer)
            elif code:
                silent.append(peer)

        for peer in peers:
            end = stack.enter_context(socket.socket(family_of(peer.address)))
            end.setblocking(False)
            code = end.connect_ex((peer.address, peer.port))
            if code == errno.EINPROGRESS:
                waiting.register(end, selectors.EVENT_WRITE, (peer, end))
            else:
                count_in(peer, code)
        deadline = time.monotonic() + patience_s
        while waiting.get_map() and (left_s := deadline - time.monotonic()) > 0:
            for key, _ in waiting.select(left_s):
                peer, end = key.data
                waiting.unregister(end)
                count_in(peer, end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        silent += [key.data[0] for key in waiting.get_map().values()]
    return sorted(silent), sorted(ended)


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def named(peers: Sequence[Peer]) -> str:
    """
    >>> named([Peer(8, "gpu2", "", 0), Peer(9, "gpu2", "", 0), Peer(16, "gpu3", "", 0)])
    'gpu2 (ranks 8, 9) and gpu3 (rank 16)'
    """
    hosts: dict[str, list[str]] = {}
    for peer in peers:
        hosts.setdefault(peer.host, []).append(str(peer.rank))
    names = [f"{host} (rank{'s' * (len(ranks) > 1)} {', '.join(ranks)})" for host, ranks in hosts.items()]
    more = [f"{len(names) - SHOWN} more hosts"] if len(names) > SHOWN else []
    return " and ".join([*names[:SHOWN], *more])
