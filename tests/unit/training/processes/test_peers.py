"""Whether other processes can be reached, and how messages name those that cannot."""

import itertools
import socket
import time

import pytest

from aurora_cli.errors import HostError
from aurora_cli.training.processes import addresses, peers
from aurora_cli.training.processes.asking import Peer, ask
from aurora_cli.training.processes.peers import Peers, lost_peers
from aurora_cli.training.processes.ranks import free_port

NOWHERE = "192.0.2.1"
"""Kept for documentation (RFC 5737): nobody has it."""


def test_of_a_process_that_ended_its_host_says_so_and_a_host_that_is_gone_says_nothing() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as port,
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),  # Linux answers nobody else then
    ):
        there = Peer(1, "node1", "127.0.0.1", port.getsockname()[1])
        ended = Peer(2, "node1", "127.0.0.1", free_port())
        silent = Peer(3, "node2", "127.0.0.1", full.getsockname()[1])
        assert ask([silent, ended, there], patience_s=0.2) == ([silent], [ended])


def test_a_broken_connection_is_exit_4_and_names_who_is_gone() -> None:
    own, ended = Peer(0, "node1", "127.0.0.1", 0), Peer(1, "node2", "127.0.0.1", free_port())
    expected = r"^rank 0 of 2 \(node1\): node2 \(rank 1\) has ended\n"
    with pytest.raises(HostError, match=expected) as caught, lost_peers(Peers(own, [ended])):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    assert caught.value.exit_code == 4
    with pytest.raises(RuntimeError, match="shapes differ"), lost_peers(Peers(own, [ended])):
        raise RuntimeError("shapes differ")


def test_all_that_can_be_reached_is_said_where_nobody_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PATIENCE_S", 0.0)
    alone = Peers(Peer(0, "node1", "127.0.0.1", 0))
    with pytest.raises(HostError, match="though all processes can be reached: gloo"), lost_peers(alone):
        raise RuntimeError("gloo: timed out")


def test_a_host_that_is_not_reached_for_the_watchdogs_time_ends_the_run_at_any_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = itertools.count()
    monkeypatch.setattr(peers, "ask", lambda all_peers: (all_peers if next(calls) else [], []))
    own, others = Peer(1, "node1", NOWHERE, 0), [Peer(0, "node0", NOWHERE, 9), Peer(2, "node2", NOWHERE, 9)]
    errors: list[HostError] = []
    with Peers(own, others).watched(0.05, errors.append):
        deadline = time.monotonic() + 10
        while not errors and time.monotonic() < deadline:
            time.sleep(0.01)
    assert errors[0].message == (
        "rank 1 of 3 (node1): node0 (rank 0) cannot be reached, for more than train.watchdog_s = 0.05 s"
    )


def test_a_host_that_never_answered_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall lets connections to rank 0 alone through, say: the run can be well."""
    monkeypatch.setattr(peers, "ask", lambda all_peers: (all_peers, []))
    errors: list[HostError] = []
    with Peers(Peer(0, "node0", NOWHERE, 0), [Peer(1, "node1", NOWHERE, 9)]).watched(0.01, errors.append):
        time.sleep(0.1)
    assert errors == []


def test_an_interface_is_found_by_its_address_and_a_users_own_choice_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses.interface_of("127.0.0.1") == "lo"
    assert addresses.interface_of(NOWHERE) is None
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setattr(addresses, "interface_of", lambda _: "eth1")
    addresses.use_interface_of("127.0.0.1")
    assert "GLOO_SOCKET_IFNAME" not in addresses.os.environ
    addresses.use_interface_of("10.0.0.7")
    assert addresses.os.environ["GLOO_SOCKET_IFNAME"] == "eth1"
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib0")
    addresses.use_interface_of("10.0.0.7")
    assert addresses.os.environ["GLOO_SOCKET_IFNAME"] == "ib0"
