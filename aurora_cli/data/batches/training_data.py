"""What a run trains on: its samples packed and ordered, and one process's micro-batches of every optimizer step."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aurora_cli.data.batches.by_epoch import read_by_epoch
from aurora_cli.data.batches.collator import Batch, TokenCounts
from aurora_cli.data.batches.corpus import Corpus, WeightedStore
from aurora_cli.data.batches.loader import MicroBatches, Request, read_ahead
from aurora_cli.data.batches.mixture import StepRatio
from aurora_cli.data.batches.packing import Batching, Packs, count_packs, plan_packs
from aurora_cli.data.batches.reader import SampleReader
from aurora_cli.data.batches.sampler import PackRow, accumulation, first_step_after_epoch, requests
from aurora_cli.data.batches.selection import PackBudget, TooLong
from aurora_cli.data.batches.shared_plan import PlanShare
from aurora_cli.data.batches.step_order import RatioStep, StepOrder
from aurora_cli.data.batches.validation import ValidationBy
from aurora_cli.data.features.cache import FeatureCache
from aurora_cli.data.media.decoders.sampling import EVENLY_IN_TIME, Sampling


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
    distill_ratio: float | None = None


FEW_STEPS = 100
"""Optimizer steps of a run that is hardly worth beginning: a few hundred samples at a large model's batch size."""


class TrainingData:
    """What a run trains on, planned: `total_steps` is known before anything is read."""

    def __init__(
        self,
        stores: Sequence[WeightedStore],
        plan: BatchPlan,
        *,
        token_counts: TokenCounts | list[StepRatio],
        image_token_id: int,
        validation: Sequence[WeightedStore] = (),
        share: PlanShare | None = None,
        features: FeatureCache | None = None,
    ) -> None:
        """`token_counts`: at the run's kept ratio, or each of its kept ratios, ascending; `validation` stores are
        measured on alone; `share` lets one process of several plan for all; `features` are read instead of the pixels
        of media that they are there of.

        Raises:
            DataError: a store is damaged, no sample fits into a pack, or none is left to train on.
        """
        self.plan = plan
        self.ratios = tuple(token_counts) if isinstance(token_counts, list) else (StepRatio(None, token_counts),)
        smallest, *larger = (ratio.token_counts for ratio in self.ratios)
        self.corpus = Corpus.from_stores(
            stores,
            validation_stores=validation,
            token_counts=smallest,
            larger=larger,
            shares=[ratio.share for ratio in self.ratios],
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
            smallest,
            plan.sampling,
        )
        self._micro_batches = MicroBatches(replace(self.reader, features=features), image_token_id, self.ratios)
        self.rows = tuple(self._row(ratio, share) for ratio in range(len(self.ratios)))
        """Of packs, one for each kept ratio."""
        self.teacher = self._teacher()
        """Which of the kept ratios the smaller ones learn from; none: from none."""
        epochs = plan.epochs if plan.max_steps is None else None
        self.order = StepOrder(self.rows, plan.global_batch_packs, seed=plan.seed, epochs=epochs)
        if self.order.ends is None:
            assert plan.max_steps is not None
            self.total_steps = plan.max_steps
            self.total_packs = plan.max_steps * plan.global_batch_packs
        else:
            self.total_steps = self.order.steps
            self.total_packs = sum(self.order.ends)

    @property
    def has_validation(self) -> bool:
        """Whether some samples are kept apart, which no step takes."""
        return len(self.corpus.validation) > 0

    @property
    def samples_in_run(self) -> int:
        """Samples that the run takes, repeats counted: exact for whole epochs."""
        return round(len(self.corpus.epoch(0)) * self.total_packs / self.packs_in_epoch)

    @property
    def part_of_epoch(self) -> bool:
        """Whether the run takes only some of its samples."""
        return self.total_packs < self.packs_in_epoch

    @property
    def ends(self) -> Sequence[int]:
        """Packs of each of `rows` that the run takes, at most."""
        return self.order.ends or (self.total_packs,) * len(self.rows)

    @property
    def packs_in_epoch(self) -> int:
        """In the first one; others have as many, but for fractional weights and mixtures."""
        return sum(row.packs_in_epoch(0) for row in self.rows)

    def notes(self) -> list[str]:
        """What a person should know at the start: samples that do not go in as they are, and too few steps."""
        plan, lines = self.plan, self.corpus.notes()
        for number, ratio in enumerate(self.ratios):
            too_long = self.corpus.too_long_at(number)
            if too_long and ratio.merging is not None:
                lines.append(
                    f"{too_long:,} samples are too long for a pack at kept ratio {ratio.merging.kept_ratio:g}:"
                    " they are trained at the smaller ones"
                )
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

        Of a half-done epoch, the share of its packs, or in a mixture of its steps.
        """
        return self.order.epochs_after(step)

    def batches(self, rank: int, world_size: int, *, start_step: int = 0) -> Iterator[list[Batch]]:
        """The micro-batches of each optimizer step, from the one after `start_step` finished ones to the last.

        Raises:
            UsageError: processes x micro-batch do not divide the global batch (at once).
            HostError: a worker died.
        """
        steps = range(start_step, self.total_steps)
        return self._steps(self.rows, self.ends, steps, self.order.locate, rank, world_size, teacher=self.teacher)

    def validation_batches(self, rank: int, world_size: int) -> Iterator[list[Batch]]:
        """Every validation sample once at each kept ratio, where it fits into a pack, in groups like an optimizer
        step's; every rank gets as many.

        Raises:
            UsageError, HostError: as `batches`.
        """
        rows = [self._validation_row(ratio) for ratio in range(len(self.ratios))]
        ends = [row.packs_in_epoch(0) for row in rows]
        located = [
            RatioStep(ratio, number)
            for ratio, packs in enumerate(ends)
            for number in range(math.ceil(packs / self.plan.global_batch_packs))
        ]
        return self._steps(rows, ends, range(len(located)), located.__getitem__, rank, world_size)

    def _teacher(self) -> int | None:
        mergings = [ratio.merging for ratio in self.ratios]
        wanted = self.plan.distill_ratio
        if wanted is None:
            return None
        return next(number for number, merging in enumerate(mergings) if merging and merging.kept_ratio == wanted)

    def _validation_row(self, ratio: int) -> PackRow:
        numbers = self.corpus.validation_at(ratio)
        return PackRow(
            lambda epoch: self._packs(numbers, ratio, epoch), seed=0, block=max(1, len(numbers)), constant=True
        )

    def _row(self, ratio: int, share: PlanShare | None) -> PackRow:
        return PackRow(
            lambda epoch: self._epoch_plan(epoch, ratio, share),
            seed=self.plan.seed,
            block=self.plan.global_batch_packs if self.plan.batching == "grouped" else 1,
            constant=self.corpus.constant,
            count=lambda epoch: self._count(epoch, ratio),
        )

    def _epoch_plan(self, epoch: int, ratio: int, share: PlanShare | None) -> Packs:
        def make() -> Packs:
            return self._packs(self.corpus.epoch_at(epoch, ratio), ratio, epoch)

        name = f"epoch-{epoch:05d}" + (f"-ratio-{ratio}" if len(self.ratios) > 1 else "")
        return make() if share is None else share.plan(name, make)

    def _packs(self, numbers: np.ndarray, ratio: int, epoch: int) -> Packs:
        packs = plan_packs(
            self.corpus.lengths_at(numbers, ratio),
            self.corpus.frames[numbers],
            pack_tokens=self.plan.budget.tokens,
            pack_frames=self.plan.budget.frames,
            batching=self.plan.batching,
            seed=self.plan.seed,
            epoch=epoch,
        )
        return packs._replace(samples=numbers[packs.samples])

    def _count(self, epoch: int, ratio: int) -> int:
        """Packs of an epoch, without their plan."""
        numbers = self.corpus.epoch_at(epoch, ratio)
        return count_packs(
            self.corpus.lengths_at(numbers, ratio),
            self.corpus.frames[numbers],
            pack_tokens=self.plan.budget.tokens,
            pack_frames=self.plan.budget.frames,
            batching=self.plan.batching,
        )

    def _steps(
        self,
        rows: Sequence[PackRow],
        ends: Sequence[int],
        steps: range,
        locate: Callable[[int], RatioStep],
        rank: int,
        world_size: int,
        *,
        teacher: int | None = None,
    ) -> Iterator[list[Batch]]:
        """`ends`: packs of each row; `locate(step)` says which of them a step takes; steps of smaller ratios than
        `teacher` have it."""
        plan = self.plan
        accumulations = accumulation(plan.global_batch_packs, world_size, plan.micro_batch_packs)

        def wanted(some: range) -> Iterator[Request]:
            for ratio, number in map(locate, some):
                for packs in requests(
                    rows[ratio],
                    range(number, number + 1),
                    packs=ends[ratio],
                    rank=rank,
                    world_size=world_size,
                    micro=plan.micro_batch_packs,
                    accumulations=accumulations,
                ):
                    yield Request(packs, ratio, teacher if teacher is not None and ratio < teacher else None)

        def read(some: range) -> Iterator[list[Batch]]:
            return self._read(wanted(some), accumulations)

        if self._micro_batches.reader.features is None:
            return read(steps)
        return read_by_epoch(read, steps, lambda step: first_step_after_epoch(rows[0], step, plan.global_batch_packs))

    def _read(self, wanted: Iterator[Request], accumulations: int) -> Iterator[list[Batch]]:
        step: list[Batch] = []
        plan = self.plan
        for batch in read_ahead(self._micro_batches, wanted, plan.workers, plan.image_mean, plan.image_std):
            step.append(batch)
            if len(step) == accumulations:
                yield step
                step = []
