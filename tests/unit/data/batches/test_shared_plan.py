"""One process plans, the others read."""

import threading
from pathlib import Path

import numpy as np
import pytest

from aurora_cli.data.batches.packing import Packs
from aurora_cli.data.batches.shared_plan import PlanShare
from aurora_cli.errors import HostError


def packs() -> Packs:
    return Packs(np.array([0, 2, 3]), np.array([5, 7, 6]))


def never() -> Packs:
    raise AssertionError("only rank 0 plans")


def test_the_others_read_what_rank_0_has_planned_however_late_it_is(tmp_path: Path) -> None:
    read: list[Packs] = []
    other = threading.Thread(target=lambda: read.append(PlanShare(tmp_path, 1, 20).plan("epoch-00000", never)))
    other.start()
    assert PlanShare(tmp_path, 0, 20).plan("epoch-00000", packs).num_packs == 2
    other.join()
    assert [read[0].pack(number).tolist() for number in range(2)] == [[5, 7], [6]]


def test_the_rank_that_plans_keeps_no_plan_but_the_file(tmp_path: Path) -> None:
    planned = PlanShare(tmp_path, 0, 20).plan("epoch-00000", packs)
    assert all(isinstance(values, np.memmap) for values in planned)
    assert [planned.pack(number).tolist() for number in range(2)] == [[5, 7], [6]]


def test_a_rank_that_waits_in_vain_says_for_whom_and_for_what(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"rank 3 has waited 0.1 s for rank 0 to write .*epoch-00001"):
        PlanShare(tmp_path, 3, 0.1).plan("epoch-00001", never)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truly = open
    monkeypatch.setattr("builtins.open", lambda path, *how: truly("/dev/full" if how == ("wb",) else path, *how))
    with pytest.raises(HostError, match="epoch-00000: the disk is full"):
        PlanShare(tmp_path, 0, 20).plan("epoch-00000", packs)
