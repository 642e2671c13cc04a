"""`train.scratch`: who shares what on it, and that nothing of a run depends on it."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.config.training import TrainSettings
from aurora_cli.errors import UsageError
from aurora_cli.pipeline.train import command as train
from aurora_cli.pipeline.train.features import sharing
from aurora_cli.pipeline.train.features.check import features_folder
from aurora_cli.pipeline.train.features.sharing import Shared, open_shared
from aurora_cli.training.processes.ranks import Rank


class Plan:
    """As much of a stage's plan as says who shares what."""

    def __init__(self, workspace: Path, scratch: Path | None) -> None:
        self.settings = Settings(workspace=workspace, train=TrainSettings(scratch=scratch))
        self.run_dir = workspace / "runs/vision"


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Ranks of several machines, each a thread here, with a scratch of its own that all call by the same name."""
    here, meeting, decided = threading.local(), {}, {}

    def gather(find: Any) -> list[Any]:
        meeting[here.rank] = find()
        here.barrier.wait()
        return [meeting[rank] for rank in sorted(meeting)]

    def broadcast(decide: Any) -> Any:
        if here.rank == 0:
            decided["by rank 0"] = decide()
        here.barrier.wait()
        return decided["by rank 0"]

    def open_on(hosts: list[str], scratch: bool = True) -> list[Shared]:
        found: dict[int, Shared] = {}
        barrier = threading.Barrier(len(hosts), timeout=20)

        def work(rank: int) -> None:
            here.rank, here.barrier, here.host = rank, barrier, hosts[rank]
            plan: Any = Plan(tmp_path, tmp_path / hosts[rank] if scratch else None)
            found[rank] = open_shared(plan, Rank(rank, 0, len(hosts)))

        for host in set(hosts):
            (tmp_path / host).mkdir(exist_ok=True)
        meeting.clear()
        threads = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(len(hosts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [found[rank] for rank in range(len(hosts))]

    monkeypatch.setattr(sharing, "gather", gather)
    monkeypatch.setattr(sharing, "broadcast_from_rank0", broadcast)
    monkeypatch.setattr(sharing, "this_boot", lambda: here.host)
    return open_on


def test_the_processes_of_a_machine_share_a_plan_that_its_first_one_makes(machines: Any, tmp_path: Path) -> None:
    shared = machines(["a", "a", "b", "b", "b"])
    assert [each.ranks for each in shared] == [(0, 1)] * 2 + [(2, 3, 4)] * 3
    plans = [each.plans for each in shared]
    assert [plan.writer for plan in plans] == [0, 0, 2, 2, 2]
    assert [plan.writes for plan in plans] == [True, False, True, False, False]
    assert len({plan.folder for plan in plans}) == 2
    assert all(str(plan.folder).startswith(f"{tmp_path / host}/") for plan, host in zip(plans, "aabbb", strict=True))
    assert [each.features.parent.parent.parent.name for each in shared] == [*"aabbb"]


def test_one_process_a_machine_plans_for_itself_and_without_scratch_all_share(machines: Any, tmp_path: Path) -> None:
    assert [each.plans for each in machines(["a", "b"])] == [None, None]
    shared = machines(["a", "b"], scratch=False)
    assert [each.plans.folder for each in shared] == [tmp_path / "runs/vision/.plans"] * 2
    assert [each.plans.writer for each in shared] == [0, 0]
    assert [each.ranks for each in shared] == [(0, 1)] * 2


def test_what_a_killed_run_planned_counts_for_nothing_and_goes(machines: Any) -> None:
    first = machines(["a", "a"])[0].plans
    (first.folder / "epoch-00000").mkdir(parents=True)
    second = machines(["a", "a"])[0].plans
    assert second.folder != first.folder
    assert not first.folder.exists()
    assert not second.folder.exists()


@pytest.mark.parametrize("name", ["nowhere", "a-file"])
def test_a_scratch_that_is_none_is_said_before_anything_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "a-file").touch()
    settings = Settings(workspace=tmp_path, train=TrainSettings(projector={"lr": 1e-3}, scratch=Path(name)))
    for looks in ({}, {"plan": True}):
        chosen = settings.model_copy(update={"train": settings.train.model_copy(update=looks)})
        with pytest.raises(UsageError, match=rf"train\.scratch: .*{name}: is no"):
            train.run(chosen)


def test_features_on_scratch_are_this_users_own(tmp_path: Path) -> None:
    settings = Settings(workspace=tmp_path)
    assert features_folder(settings) == tmp_path / "runs/features"
    given = settings.model_copy(update={"train": settings.train.model_copy(update={"scratch": Path("here")})})
    assert features_folder(given) == tmp_path / f"here/aurora-{os.getuid()}/train/features"
