"""What a run trains on: its samples packed and ordered, and one process's micro-batches of every optimizer step."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aurora_cli.data.batches.by_epoch import read_by_epoch
from aurora_cli.data.batches.collator import Batch, TokenCounts
from aurora_cli.data.batches.corpus import Corpus, WeightedStore
from aurora_cli.data.batches.loader import MicroBatches, read_ahead
from aurora_cli.data.batches.packing import Batching, Packs, plan_packs
from aurora_cli.data.batches.reader import SampleReader
from aurora_cli.data.batches.sampler import PackRow, accumulation, first_step_after_epoch, requests
from aurora_cli.data.batches.selection import PackBudget, TooLong
from aurora_cli.data.batches.shared_plan import PlanShare
from aurora_cli.data.batches.validation import ValidationBy
from aurora_cli.data.features.cache import FeatureCache
from aurora_cli.data.media.video_decoder import EVENLY_IN_TIME, Sampling


@dataclass(frozen=True)
class BatchPlan:
    """How samples become the batches of a run; the settings of these names say what each means."""

    budget: PackBudget
    """`train.pack_tokens` and `train.pack_frames`."""
    image_size: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    global_batch_packs: int = 16
    micro_batch_packs: int = 1
    batching: Batching = "packed"
    too_long: TooLong = "cut"
    validation_share: float = 0.0
    validation_by: ValidationBy = "medium"
    epochs: float = 1.0
    max_steps: int | None = None
    seed: int = 0
    sampling: Sampling = EVENLY_IN_TIME
    """`data.frame_sampling` and `data.fps`."""
    workers: int = 0


FEW_STEPS = 100
"""Optimizer steps of a run that is hardly worth beginning: a few hundred samples at a large model's batch size."""


class TrainingData:
    """What a run trains on, planned: `total_steps` is known before anything is read."""

    def __init__(
        self,
        stores: Sequence[WeightedStore],
        plan: BatchPlan,
        *,
        token_counts: TokenCounts,
        image_token_id: int,
        validation: Sequence[WeightedStore] = (),
        share: PlanShare | None = None,
        features: FeatureCache | None = None,
    ) -> None:
        """`validation` stores are measured on alone; `share` lets one process of several plan for all; `features` are
        read instead of the pixels of media that they are there of.

        Raises:
            DataError: a store is damaged, no sample fits into a pack, or none is left to train on.
        """
        self.plan = plan
        self.corpus = Corpus.from_stores(
            stores,
            validation_stores=validation,
            token_counts=token_counts,
            budget=plan.budget,
            too_long=plan.too_long,
            validation_share=plan.validation_share,
            validation_by=plan.validation_by,
            seed=plan.seed,
        )
        self.reader = SampleReader(
            self.corpus.stores,
            self.corpus.starts,
            plan.image_size,
            plan.image_mean,
            plan.budget.tokens,
            token_counts,
            plan.sampling,
        )
        self._micro_batches = MicroBatches(replace(self.reader, features=features), image_token_id)
        self.row = PackRow(
            lambda epoch: self._epoch_plan(epoch, share),
            seed=plan.seed,
            block=plan.global_batch_packs if plan.batching == "grouped" else 1,
            constant=self.corpus.constant,
        )
        if plan.max_steps is not None:
            self.total_packs = plan.max_steps * plan.global_batch_packs
        else:
            self.total_packs = self.row.packs_in_epochs(plan.epochs)
        self.total_steps = math.ceil(self.total_packs / plan.global_batch_packs)

    @property
    def has_validation(self) -> bool:
        """Whether some samples are kept apart, which no step takes."""
        return len(self.corpus.validation) > 0

    @property
    def samples_in_run(self) -> int:
        """Samples that the run takes, repeats counted: exact for whole epochs."""
        return round(len(self.corpus.epoch(0)) * self.total_packs / self.row.packs_in_epoch(0))

    @property
    def part_of_epoch(self) -> bool:
        """Whether the run takes only some of its samples."""
        return self.total_packs < self.row.packs_in_epoch(0)

    def notes(self) -> list[str]:
        """What a person should know at the start: samples that do not go in as they are, and too few steps."""
        plan, lines = self.plan, self.corpus.notes()
        if self.total_steps < FEW_STEPS and plan.max_steps is None:
            smaller = plan.global_batch_packs > 1
            lines.append(
                f"{self.total_steps:,} steps are few to learn in; for more of them: "
                + (f"--set train.global_batch_packs=1 ({self.total_packs:,} steps), " if smaller else "")
                + "smaller train.pack_tokens, or more train.epochs"
            )
        return lines

    def epoch_after(self, step: int) -> float:
        """Epochs done after `step` steps (counted from 1).

        Of a half-done epoch, the share of its packs.
        """
        epoch, index = self.row.locate(min(step * self.plan.global_batch_packs, self.total_packs))
        return epoch + index / self.row.packs_in_epoch(epoch)

    def batches(self, rank: int, world_size: int, *, start_step: int = 0) -> Iterator[list[Batch]]:
        """The micro-batches of each optimizer step, from the one after `start_step` finished ones to the last.

        Raises:
            UsageError: processes x micro-batch do not divide the global batch (at once).
            HostError: a worker died.
        """
        return self._steps(self.row, range(start_step, self.total_steps), self.total_packs, rank, world_size)

    def validation_batches(self, rank: int, world_size: int) -> Iterator[list[Batch]]:
        """Every validation sample once, in groups like an optimizer step's; every rank gets as many.

        Raises:
            UsageError, HostError: as `batches`.
        """
        numbers = self.corpus.validation
        row = PackRow(lambda epoch: self._packs(numbers, epoch), seed=0, block=max(1, len(numbers)), constant=True)
        packs = row.packs_in_epoch(0)
        steps = math.ceil(packs / self.plan.global_batch_packs)
        return self._steps(row, range(steps), packs, rank, world_size)

    def _epoch_plan(self, epoch: int, share: PlanShare | None) -> Packs:
        def make() -> Packs:
            return self._packs(self.corpus.epoch(epoch), epoch)

        return make() if share is None else share.plan(f"epoch-{epoch:05d}", make)

    def _packs(self, numbers: np.ndarray, epoch: int) -> Packs:
        packs = plan_packs(
            self.corpus.lengths[numbers],
            self.corpus.frames[numbers],
            pack_tokens=self.plan.budget.tokens,
            pack_frames=self.plan.budget.frames,
            batching=self.plan.batching,
            seed=self.plan.seed,
            epoch=epoch,
        )
        return packs._replace(samples=numbers[packs.samples])

    def _steps(self, row: PackRow, steps: range, packs: int, rank: int, world_size: int) -> Iterator[list[Batch]]:
        plan = self.plan
        accumulations = accumulation(plan.global_batch_packs, world_size, plan.micro_batch_packs)

        def read(some: range) -> Iterator[list[Batch]]:
            wanted = requests(
                row,
                some,
                packs=packs,
                rank=rank,
                world_size=world_size,
                micro=plan.micro_batch_packs,
                accumulations=accumulations,
            )
            return self._read(wanted, accumulations)

        if self._micro_batches.reader.features is None:
            return read(steps)
        return read_by_epoch(read, steps, lambda step: first_step_after_epoch(row, step, plan.global_batch_packs))

    def _read(self, wanted: Iterator[list[np.ndarray]], accumulations: int) -> Iterator[list[Batch]]:
        step: list[Batch] = []
        plan = self.plan
        for batch in read_ahead(self._micro_batches, wanted, plan.workers, plan.image_mean, plan.image_std):
            step.append(batch)
            if len(step) == accumulations:
                yield step
                step = []
