"""The processes of a run as each knows the others: on which host they are, and whether they are still there.

Each holds a port open. What asks whether it is there connects to it: the kernel answers while the process lives,
however busy it is.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from aurora_cli.errors import HostError
from aurora_cli.training.processes.addresses import is_loopback, own_address
from aurora_cli.training.processes.asking import PATIENCE_S, Peer, ask, family_of, named
from aurora_cli.training.processes.ranks import Rank

if TYPE_CHECKING:
    from torch.distributed import Store

ASK_EVERY_S = 30.0
GOES_ON = "The same command goes on from the last checkpoint, on fewer hosts too."


_PEER = TypeAdapter(Peer)


class Peers:
    """All processes of a run, seen by one."""

    def __init__(self, own: Peer, others: Sequence[Peer] = (), port: socket.socket | None = None) -> None:
        self.own = own
        self._others = others
        if port is not None:
            threading.Thread(target=_receive, args=(port,), name="peers", daemon=True).start()

    @property
    def count(self) -> int:
        return 1 + len(self._others)

    def lost(self) -> str:
        """Which of the others are gone, as messages name them; empty: all are there."""
        silent, ended = ask(self._others)
        if silent:
            return f"{named(silent)} cannot be reached"
        return f"{named(ended)} {'has' if len(ended) == 1 else 'have'} ended" if ended else ""

    @contextlib.contextmanager
    def watched(self, limit_s: float, on_lost: Callable[[HostError], None]) -> Iterator[None]:
        """Call `on_lost`, in a thread, when a host has not been reached for `limit_s` seconds.

        Without it a cable that is pulled leaves the others waiting, since nobody tells them. Rank 0 asks all, and all
        ask rank 0. The silence of one that did not answer in the beginning says nothing: a firewall may be between. On
        one host there is no cable.
        """
        if not self._others or is_loopback(self.own.address):
            yield
            return
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(limit_s, on_lost, over), name="hosts", daemon=True)
        watch.start()
        try:
            yield
        finally:
            over.set()

    def _watch(self, limit_s: float, on_lost: Callable[[HostError], None], over: threading.Event) -> None:
        neighbours = self._others if self.own.rank == 0 else [peer for peer in self._others if peer.rank == 0]
        silent, _ = ask(neighbours)
        neighbours = [peer for peer in neighbours if peer not in silent]
        heard = time.monotonic()
        while not over.wait(min(ASK_EVERY_S, limit_s / 4)):
            silent, _ = ask(neighbours)
            if not silent:
                heard = time.monotonic()
            elif time.monotonic() - heard > limit_s and not over.is_set():
                on_lost(
                    HostError(
                        f"rank {self.own.rank} of {self.count} ({self.own.host}): {named(silent)} cannot be reached,"
                        f" for more than train.watchdog_s = {limit_s:g} s",
                        hint=GOES_ON,
                    )
                )


def _receive(port: socket.socket) -> None:
    while True:
        with contextlib.suppress(OSError):
            port.accept()[0].close()


def exchange_addresses(store: "Store", rank: Rank) -> Peers:
    """Tell the others where this process is found, and learn it of them. All call it together."""
    store.set(f"route/{rank.rank}", own_address(rank.master_addr))
    routes = [route.decode() for route in store.multi_get([f"route/{one}" for one in range(rank.world_size)])]
    address = routes[rank.rank]
    beyond = next((route for route in routes if not is_loopback(route)), None)
    if is_loopback(address) and beyond is not None:
        address = own_address(beyond)  # the host of rank 0 is known to itself by a name of its own
    port = socket.create_server((address, 0), family=family_of(address), backlog=4096)
    own = Peer(rank.rank, socket.gethostname(), address, port.getsockname()[1])
    store.set(f"peer/{rank.rank}", _PEER.dump_json(own).decode())
    answers = store.multi_get([f"peer/{one}" for one in range(rank.world_size)])
    return Peers(own, [peer for peer in map(_PEER.validate_json, answers) if peer != own], port)


@contextlib.contextmanager
def lost_peers(peers: Peers) -> Iterator[None]:
    """
    Raises:
        HostError: a connection to another process broke; the message says whose.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_broken_connection(error):
            raise
        own = peers.own
        deadline = time.monotonic() + PATIENCE_S
        while not (lost := peers.lost()) and time.monotonic() < deadline:
            time.sleep(0.1)  # the kernel takes an ended process apart one connection after another
        broke = f"a connection broke, though all processes can be reached: {error}"
        raise HostError(
            f"rank {own.rank} of {peers.count} ({own.host}): {lost or broke}",
            hint=f"What ended first says why in its own output. {GOES_ON}",
        ) from error


def _is_broken_connection(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
