"""One process's micro-batches of every optimizer step, read ahead by workers, in the order that the plan fixes.

The training process plans and hands sample numbers out; workers read, decode and collate; frames cross as bytes and
become floats in a thread here, beside the step that is computed. Workers hold no state and draw no random numbers:
their count changes the speed alone.
"""

import atexit
import math
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aurora_cli.config.settings import Settings
from aurora_cli.data.batches.collator import Batch, TokenCounts, collate
from aurora_cli.data.batches.corpus import Corpus, Source
from aurora_cli.data.batches.packing import Packs, plan_packs
from aurora_cli.data.batches.reader import SampleReader
from aurora_cli.data.batches.sampler import PackRow, accumulation, requests
from aurora_cli.data.batches.shared_plan import PlanShare
from aurora_cli.data.media.video_decoder import Sampling
from aurora_cli.errors import AuroraError, HostError
from aurora_cli.io.prefetch import taken_ahead

PREFETCH = 4
"""Micro-batches that a worker prepares ahead."""

FETCHED = 2
"""Micro-batches that lie ready as floats in the training process."""


class TrainingData:
    """What a run trains on, planned: `total_steps` is known before anything is read."""

    def __init__(
        self,
        sources: Sequence[Source],
        settings: Settings,
        *,
        token_counts: TokenCounts,
        image_token_id: int,
        share: PlanShare | None = None,
    ) -> None:
        """`share` lets one process of several plan for all."""
        train, data = settings.train, settings.data
        self._settings = settings
        self.corpus = Corpus(
            sources,
            token_counts=token_counts,
            pack_tokens=train.pack_tokens,
            pack_frames=train.pack_frames,
            too_long=data.too_long,
            validation_share=data.validation_share,
            seed=train.seed,
        )
        self.image_mean, self.image_std = settings.model.image_mean, settings.model.image_std
        self.reader = SampleReader(
            self.corpus.sources,
            self.corpus.starts,
            settings.model.image_size,
            settings.model.image_mean,
            train.pack_tokens,
            token_counts,
            Sampling(data.frame_sampling, data.fps),
        )
        self._micro_batches = MicroBatches(self.reader, image_token_id)
        self.row = PackRow(
            lambda epoch: self._epoch_plan(epoch, share),
            seed=train.seed,
            block=train.global_batch_packs if data.batching == "grouped" else 1,
            constant=self.corpus.constant,
        )
        global_batch = train.global_batch_packs
        if train.max_steps is not None:
            self.total_packs = train.max_steps * global_batch
        else:
            self.total_packs = self.row.packs_in_epochs(train.epochs)
        self.total_steps = math.ceil(self.total_packs / global_batch)

    @property
    def samples_in_run(self) -> int:
        """Samples that the run takes, repeats counted: exact for whole epochs."""
        return round(len(self.corpus.epoch(0)) * self.total_packs / self.row.packs_in_epoch(0))

    @property
    def part_of_epoch(self) -> bool:
        """Whether the run takes only some of its samples."""
        return self.total_packs < self.row.packs_in_epoch(0)

    def epoch_after(self, step: int) -> float:
        """Epochs done after `step` steps (counted from 1).

        Of a half-done epoch, the share of its packs.
        """
        epoch, place = self.row.locate(min(step * self._settings.train.global_batch_packs, self.total_packs))
        return epoch + place / self.row.packs_in_epoch(epoch)

    def batches(self, rank: int, world_size: int, *, start_step: int = 0) -> Iterator[list[Batch]]:
        """The micro-batches of each optimizer step, from the one after `start_step` finished ones to the last.

        Raises:
            UsageError: processes x micro-batch do not divide the global batch (at once).
            HostError: a worker died.
        """
        accumulations = self._accumulations(world_size)
        wanted = requests(
            self.row,
            start_step=start_step,
            steps=self.total_steps,
            packs=self.total_packs,
            rank=rank,
            world_size=world_size,
            micro=self._settings.train.micro_batch_packs,
            accumulations=accumulations,
        )
        return self._steps(wanted, accumulations)

    def validation_batches(self, rank: int, world_size: int) -> Iterator[list[Batch]]:
        """Every held-out sample once, in groups like an optimizer step's; every rank gets as many."""
        numbers = self.corpus.validation
        row = PackRow(lambda epoch: self._plan(numbers, epoch), seed=0, block=max(1, len(numbers)), constant=True)
        packs = row.packs_in_epoch(0)
        accumulations = self._accumulations(world_size)
        wanted = requests(
            row,
            start_step=0,
            steps=math.ceil(packs / self._settings.train.global_batch_packs),
            packs=packs,
            rank=rank,
            world_size=world_size,
            micro=self._settings.train.micro_batch_packs,
            accumulations=accumulations,
        )
        return self._steps(wanted, accumulations)

    def _accumulations(self, world_size: int) -> int:
        train = self._settings.train
        return accumulation(train.global_batch_packs, world_size, train.micro_batch_packs)

    def _epoch_plan(self, epoch: int, share: PlanShare | None) -> Packs:
        def make() -> Packs:
            return self._plan(self.corpus.epoch(epoch), epoch)

        return make() if share is None else share.plan(f"epoch-{epoch:05d}", make)

    def _plan(self, numbers: np.ndarray, epoch: int) -> Packs:
        train = self._settings.train
        packs = plan_packs(
            self.corpus.lengths[numbers],
            self.corpus.frames[numbers],
            pack_tokens=train.pack_tokens,
            pack_frames=train.pack_frames,
            batching=self._settings.data.batching,
            seed=train.seed,
            epoch=epoch,
        )
        return packs._replace(samples=numbers[packs.samples])

    def _steps(self, wanted: Iterator[list[np.ndarray]], accumulations: int) -> Iterator[list[Batch]]:
        step: list[Batch] = []
        workers = self._settings.data.workers
        for batch in read_ahead(self._micro_batches, wanted, workers, self.image_mean, self.image_std):
            step.append(batch)
            if len(step) == accumulations:
                yield step
                step = []


@dataclass
class MicroBatches:
    """Reads and collates the micro-batch that it is asked for. What goes wrong comes back as a value."""

    reader: SampleReader
    image_token_id: int

    def __getitem__(self, packs: list[np.ndarray]) -> "Batch | AuroraError":
        try:
            samples = [self.reader.pack(numbers) for numbers in packs]
        except AuroraError as error:  # raised over there it would carry the worker's traceback as its message
            return error
        return collate(samples, image_token_id=self.image_token_id, token_counts=self.reader.token_counts)


def read_ahead(
    micro_batches: MicroBatches,
    wanted: Iterable[list[np.ndarray]],
    workers: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Iterator[Batch]:
    """The wanted micro-batches, in order, read by `workers` processes (0: by this one), their frames as floats."""

    def read() -> Generator[Batch, None, None]:
        for batch in _read_by_workers(micro_batches, wanted, workers):
            yield with_floats(batch, mean, std)

    # A tensor is fetched from the worker that made it, which answers when its decoder lets go of the interpreter: up to
    # 5 ms each. The thread waits for it, not the training step.
    batches = taken_ahead(read, FETCHED) if workers else read()
    # Workers are deaf to the SIGTERM with which multiprocessing ends them when this process exits: end them before.
    reference = weakref.ref(batches)
    atexit.register(lambda: (alive := reference()) is not None and alive.close())
    return batches


def _read_by_workers(
    micro_batches: MicroBatches, wanted: Iterable[list[np.ndarray]], workers: int
) -> Generator[Batch, None, None]:
    from torch.utils.data import DataLoader

    loader = DataLoader(
        micro_batches,  # pyright: ignore[reportArgumentType] - any object with __getitem__ will do
        batch_size=None,
        sampler=wanted,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        collate_fn=_unchanged,
        worker_init_fn=_ignore_signals,
    )
    try:
        for batch in loader:
            if isinstance(batch, AuroraError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise HostError(
            f"a process that reads training data ended: {str(error).splitlines()[0]}",
            hint="If memory ran out, lower data.workers or train.pack_frames, or give the machine a larger /dev/shm.",
        ) from error


def with_floats(batch: Batch, mean: Sequence[float], std: Sequence[float]) -> Batch:
    """The batch with its frames normalised: (F, 3, S, S) float32, in pinned memory where a CUDA card will take them."""
    if batch.pixel_values is None:
        return batch
    import torch

    from aurora_cli.data.media.transforms import normalise

    pixel_values = normalise(batch.pixel_values, mean, std)
    # From pinned memory they cross to the card while it computes; from other memory the step waits for them.
    return batch._replace(pixel_values=pixel_values.pin_memory() if torch.cuda.is_available() else pixel_values)


def _unchanged(value: Any) -> Any:
    return value


def _ignore_signals(_worker: int) -> None:
    """Ctrl-C and SIGTERM reach the whole process group; the training process answers them, at a step's end."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
