"""Two processes that build a stage's network with weights shared from the beginning, and look at what each holds.

`python shared_weights.py compare CONFIG...` builds each network shared, and whole beside it, and compares them;
`python shared_weights.py train CONFIG...` trains; runs called `whole-*` load every weight whole, to be divided later;
`python shared_weights.py measure CONFIG...` loads them one after the other and says what memory each took; what imports
and a first network cost is in the first's.
"""

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from aurora_cli.config.resolve import load_resolved
from aurora_cli.config.settings import Settings, TrainSettings
from aurora_cli.console import Reporter
from aurora_cli.models.assign import Assign, assign_whole
from aurora_cli.pipeline.train.build_model import build_network
from aurora_cli.pipeline.train.plan import StagePlan, plan_stage
from aurora_cli.training.engine import engine, zero_loading
from aurora_cli.training.engine.deepspeed_config import read_config
from aurora_cli.training.optim import parameter_groups
from aurora_cli.training.processes import collectives
from aurora_cli.training.processes.ranks import Rank, rank_from_environment
from aurora_cli.training.processes.worker import serve
from tests.distributed import campaign

ASSIGN_FOR = zero_loading.assign_for


def run(how: str, runs: Sequence[Settings], folder: Path, processes: int = 2) -> dict[str, Any]:
    """What rank 0 says of the last of `runs`."""
    return campaign.run_script([__file__, how], runs, processes, folder)


def shared_assign(plan: StagePlan, rank: Rank) -> Any:
    train = plan.settings.train
    config = read_config(train.deepspeed or "none", plan.settings.workspace)
    return zero_loading.assign_for(train, rank, accumulation=accumulation(plan, rank), config=config)


def assign_by_name(train: TrainSettings, rank: Rank, **more: Any) -> Assign:
    assert train.run_dir is not None
    return assign_whole if train.run_dir.name.startswith("whole-") else ASSIGN_FOR(train, rank, **more)


def accumulation(plan: StagePlan, rank: Rank) -> int:
    return plan.settings.train.global_batch_packs // rank.world_size


def compare(plan: StagePlan, rank: Rank) -> dict[str, Any]:
    """Build the network both ways: the same to the bit, and of the shared one a part is here, also when wrapped."""
    import deepspeed

    gathered = deepspeed.zero.GatheredParameters
    network, whole = build_network(plan, shared_assign(plan, rank)), build_network(plan, assign_whole)
    assert network.model.state_dict().keys() == whole.model.state_dict().keys()
    pairs = list(zip(network.model.named_parameters(), whole.model.named_parameters(), strict=True))
    for (name, mine), (_, theirs) in pairs:
        assert zero_loading.is_shared(mine), name
        assert mine.numel() == 0, name
        with gathered([mine]):
            assert torch.equal(mine, theirs.to(mine.dtype)), name
    for (name, mine), (_, theirs) in zip(network.model.named_buffers(), whole.model.named_buffers(), strict=True):
        assert mine.dtype == theirs.dtype, name
        assert torch.equal(mine, theirs), name
    train = plan.settings.train
    engine.prepare(
        network.model,
        parameter_groups(network.parameters, network.trained),
        train,
        rank,
        accumulation=accumulation(plan, rank),
        config=read_config(train.deepspeed or "none", plan.settings.workspace),
    )
    for (name, mine), (_, theirs) in pairs:
        held: Any = mine
        assert mine.numel() == 0, name
        assert held.ds_tensor.numel() == -(-theirs.numel() // rank.world_size), name
        with gathered([mine]):
            assert torch.equal(mine, theirs.to(mine.dtype)), name
    return {
        "parameters": len(pairs),
        "frozen": sum(not mine.requires_grad for (_, mine), _ in pairs),
        "dtypes": sorted({str(mine.dtype) for (_, mine), _ in pairs}),
    }


def anonymous() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def measure(plan: StagePlan, rank: Rank) -> dict[str, Any]:
    """The most anonymous memory of a rank above what was there before, in bytes, while it builds the network."""
    assign = shared_assign(plan, rank)
    held, peak, done = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], anonymous())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    network = build_network(plan, assign)
    done.set()
    watcher.join()
    mine = torch.tensor([max(peak[0], anonymous()) - held])
    torch.distributed.all_reduce(mine, torch.distributed.ReduceOp.MAX)
    sizes = [getattr(p, "ds_numel", p.numel()) * p.element_size() for p in network.model.parameters()]
    return {"peak": int(mine), "size": sum(sizes), "largest": max(sizes)}


def work(how: str, configs: Sequence[str], place: Rank, reporter: Reporter) -> dict[str, Any]:
    if how == "train":
        zero_loading.assign_for = assign_by_name
        return campaign.work(configs, place, reporter)
    collectives.join_process_group(place)
    said: dict[str, Any] = {}
    for config in configs:
        plan = collectives.broadcast_from_rank0(lambda config=config: plan_stage(load_resolved(Path(config))))
        said[Path(config).stem] = (compare if how == "compare" else measure)(plan, replace(place, launcher="aurora"))
        engine.forget()
    return said


if __name__ == "__main__":
    here = rank_from_environment() or Rank()
    serve(lambda reporter: work(sys.argv[1], sys.argv[2:], here, reporter))
