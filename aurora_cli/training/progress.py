"""How far a run is, step by step: pure functions of what it was before and of the step's numbers."""

import hashlib

from aurora_cli.runs.metadata import TrainState
from aurora_cli.training.guards import loss_ema
from aurora_cli.training.step import StepResult


def next_state(before: TrainState, result: StepResult) -> TrainState:
    """The state after one more step."""
    totals = result.totals
    return before.model_copy(
        update={
            "step": before.step + 1,
            "samples_seen": before.samples_seen + totals.samples,
            "samples_rejected": before.samples_rejected + totals.rejected,
            "media_files": before.media_files + totals.media_files,
            "media_unreadable": before.media_unreadable + totals.unreadable,
            "loss_ema": loss_ema(before.loss_ema, result.loss),
            "order_hash": next_order_hash(before.order_hash, totals.order),
        }
    )


def next_order_hash(before: str, step_digest: int) -> str:
    """A chain over steps: equal only if every step so far took the same samples, on however many ranks."""
    return hashlib.sha256(f"{before}:{step_digest}".encode()).hexdigest()


def step_seed(seed: int, step: int, rank: int) -> int:
    """Of dropout in one step on one rank: saved nowhere, the same after a resume."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
