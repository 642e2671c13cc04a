"""Processes that meet before a run, or do not."""

import threading
from datetime import timedelta

import pytest
from torch.distributed import Store

from aurora_cli.errors import HostError
from aurora_cli.training.processes.collectives import rendezvous
from aurora_cli.training.processes.ranks import Rank, free_port

SHORT = timedelta(seconds=1)


def test_rank_0_says_which_ranks_did_not_come() -> None:
    with pytest.raises(HostError, match=r"rank 0 of 3 .* has waited 1 s at 127.0.0.1:\d+ for ranks 1, 2"):
        rendezvous(Rank(0, 0, 3, master_port=free_port()), SHORT)


def test_another_rank_says_where_it_waited_for_rank_0() -> None:
    with pytest.raises(HostError, match=r"rank 2 of 3 .* has waited 1 s for rank 0 at 127.0.0.1:\d+") as caught:
        rendezvous(Rank(2, 2, 3, master_port=free_port()), SHORT)
    assert "MASTER_ADDR" in str(caught.value)


def test_all_go_on_when_all_are_there() -> None:
    port = free_port()
    arrived: dict[int, Store] = {}  # kept, as a run keeps it: rank 0's serves the others

    def come(number: int) -> None:
        arrived[number] = rendezvous(Rank(number, number, 3, master_port=port), timedelta(seconds=20))

    threads = [threading.Thread(target=come, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(arrived) == [0, 1, 2]
