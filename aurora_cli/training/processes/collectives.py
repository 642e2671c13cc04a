"""Processes of a run among themselves: meeting at the start, and what one decides for all."""

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
from torch.distributed import PrefixStore, Store, TCPStore

from aurora_cli.errors import AuroraError, HostError
from aurora_cli.training.processes.addresses import use_interface_of
from aurora_cli.training.processes.peers import Peer, Peers, exchange_addresses
from aurora_cli.training.processes.ranks import Rank
from aurora_cli.training.processes.worker import exit_now

COLLECTIVE_TIMEOUT = timedelta(days=1)
"""Of collective calls: one rank may fetch weights for hours while others wait. Steps have the watchdog."""

RENDEZVOUS_TIMEOUT = timedelta(minutes=10)
"""How long processes wait for one another at the start: nodes of a cluster do not start at once."""

Decision = TypeVar("Decision")


_met: Peers | None = None
"""Of this process's group, which stays until the process ends."""


def join_process_group(rank: Rank) -> Peers:
    """Meet the other processes. Nothing to do for one alone.

    Raises:
        HostError: they cannot be reached.
    """
    global _met
    if rank.world_size == 1:
        return Peers(Peer(0, socket.gethostname(), "", 0))
    if torch.distributed.is_initialized() and _met is not None:
        return _met
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(rank.local_rank)
    try:
        if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun's agent has a store of its own
            store, _, _ = next(torch.distributed.rendezvous("env://", rank.rank, rank.world_size))
        else:
            store = rendezvous(rank)
        _met = exchange_addresses(store, rank)
        use_interface_of(_met.own.address)
        torch.distributed.init_process_group(
            "nccl" if cuda else "gloo",
            store=PrefixStore("run", store),
            rank=rank.rank,
            world_size=rank.world_size,
            timeout=COLLECTIVE_TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        raise HostError(
            f"rank {rank.rank} of {rank.world_size} cannot meet the others at {rank.master_addr}:{rank.master_port}:"
            f" {error}",
            hint="Is the port free and reachable, and were all processes started? On several hosts, GLOO_SOCKET_IFNAME"
            " and NCCL_SOCKET_IFNAME name the network interface that reaches the others.",
        ) from error
    return _met


def rendezvous(rank: Rank, patience: timedelta = RENDEZVOUS_TIMEOUT) -> Store:
    """Every process says that it is there, where rank 0 listens; all go on when all have.

    Raises:
        HostError: somebody did not come; the message says who waited for whom.
    """
    address = f"{rank.master_addr}:{rank.master_port}"
    waited = f"rank {rank.rank} of {rank.world_size} ({socket.gethostname()}) has waited {patience.total_seconds():g} s"
    try:
        store = TCPStore(
            rank.master_addr, rank.master_port, rank.world_size, rank.is_main, patience, wait_for_workers=False
        )
        store.set(f"here/{rank.rank}", socket.gethostname())
    except RuntimeError as error:
        if rank.is_main:
            raise HostError(
                f"rank 0 cannot listen at {address}: {error}", hint="Set MASTER_PORT to a free one."
            ) from error
        raise HostError(
            f"{waited} for rank 0 at {address}: {error}",
            hint="Is it reachable, and was rank 0 started? MASTER_ADDR and MASTER_PORT say where it listens.",
        ) from error
    try:
        store.wait([f"here/{other}" for other in range(rank.world_size)], patience)
    except RuntimeError as error:
        missing = [str(other) for other in range(rank.world_size) if not store.check([f"here/{other}"])]
        raise HostError(
            f"{waited} at {address} for rank{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            hint="Were all processes started, and can they reach that address?",
        ) from error
    return store


def broadcast_from_rank0(decide: Callable[[], Decision]) -> Decision:
    """What rank 0 decides, on every rank. If it raises an expected error, it alone raises it: the others end here."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return decide()
    is_main = torch.distributed.get_rank() == 0
    box: list[Any] = [None]
    if is_main:
        try:
            box = [decide()]
        except AuroraError as error:
            box = [error]
    torch.distributed.broadcast_object_list(box, src=0)
    (decision,) = box
    if isinstance(decision, AuroraError):
        if is_main:
            raise decision
        exit_now(decision.exit_code)
    return decision


def gather(find: Callable[[], Decision]) -> list[Decision]:
    """What each rank finds for itself, by rank, on every rank. An expected error of any is raised on rank 0; the
    others end here."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return [find()]
    try:
        own: Any = find()
    except AuroraError as error:
        own = error
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, own)
    if (error := next((one for one in found if isinstance(one, AuroraError)), None)) is not None:
        raise_on_rank0(error, is_main=torch.distributed.get_rank() == 0)
    return found


def raise_on_rank0(error: AuroraError, *, is_main: bool) -> NoReturn:
    """End a run for a reason that all ranks came to together: rank 0 raises it, the others leave in silence."""
    if is_main:
        raise error
    exit_now(error.exit_code)
