"""`train.scratch`: what each machine of a run keeps for itself, on a disk of its own.

Only what can be made again, and comes out the same wherever it is made: plans of packs, which are a function of the
data, and kept features. Checkpoints, metrics and locks stay where all machines see them.
"""

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.data.batches.shared_plan import PlanShare
from aurora_cli.io.atomic import remove
from aurora_cli.io.lock_claim import this_boot
from aurora_cli.io.scratch import scratch_folder
from aurora_cli.pipeline.train.features.check import PART, check_train_scratch, features_folder
from aurora_cli.pipeline.train.plan import StagePlan
from aurora_cli.runs.layout import PLANS
from aurora_cli.training.processes.collectives import broadcast_from_rank0, gather
from aurora_cli.training.processes.ranks import Rank


@dataclass(frozen=True)
class Shared:
    """What processes of a run share by files: all of them, or on scratch those of one machine."""

    features: Path
    ranks: tuple[int, ...]
    """Those who see the same folder, ascending: the first makes it."""
    plans: PlanShare | None
    """None: one process plans for itself."""


def open_shared(plan: StagePlan, rank: Rank) -> Shared:
    """Find out who shares what, and make room for the plans of this run. All processes call it together.

    Raises:
        UsageError: on one of the machines there is no such scratch.
        HostError: it cannot be written there.
    """
    settings, timeout = plan.settings, plan.settings.train.watchdog_s
    everybody = tuple(range(rank.world_size))
    if settings.train.scratch is None:
        folder = plan.run_dir / PLANS
        broadcast_from_rank0(lambda: remove(folder))
        plans = PlanShare(folder, rank.rank, timeout) if rank.world_size > 1 else None
        return Shared(features_folder(settings), everybody, plans)
    scratch_ids = gather(lambda: _scratch_id(settings))
    ranks = tuple(other for other in everybody if scratch_ids[other] == scratch_ids[rank.rank])
    digest = hashlib.sha256(str(plan.run_dir.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    own = features_folder(settings).parent / f"plans-{digest}"
    run = broadcast_from_rank0(lambda: secrets.token_hex(8))
    if rank.rank == ranks[0]:
        for left in own.glob("*"):
            if not left.name.startswith(run):  # of a run that was killed
                remove(left)
    # With the first rank in its name, for a disk that machines share by mistake.
    local = own / f"{run}-{ranks[0]}"
    plans = PlanShare(local, rank.rank, timeout, writer=ranks[0]) if len(ranks) > 1 else None
    return Shared(features_folder(settings), ranks, plans)


def _scratch_id(settings: Settings) -> tuple[str, int, int]:
    """The same for those who see the same folder, and for nobody else."""
    check_train_scratch(settings)
    scratch = Workspace(settings.workspace).path(settings.train.scratch or ".").absolute()
    status = scratch_folder(scratch, PART).stat()
    return this_boot(), status.st_dev, status.st_ino
