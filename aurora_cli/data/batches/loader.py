"""Micro-batches read ahead by workers, in the order wanted.

The training process hands sample numbers out; workers read, decode and collate; frames cross as bytes and become
floats in a thread here, beside the step that is computed. Workers hold no state and draw no random numbers: their count
changes the speed alone.
"""

import atexit
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from aurora_cli.data.batches.collator import Batch, collate
from aurora_cli.data.batches.mixture import StepRatio
from aurora_cli.data.batches.reader import SampleReader
from aurora_cli.data.batches.teacher import with_teacher
from aurora_cli.errors import AuroraError, HostError
from aurora_cli.io.prefetch import taken_ahead

PREFETCH = 4
"""Micro-batches that a worker prepares ahead."""

FETCHED = 2
"""Micro-batches that lie ready as floats in the training process."""


class Request(NamedTuple):
    """A micro-batch that is wanted."""

    packs: list[np.ndarray]
    """The samples of each."""
    ratio: int
    """Which of the run's kept ratios it has."""
    teacher: int | None = None
    """At which of them its samples are there a second time, to be learned from; none: at none."""


@dataclass
class MicroBatches:
    """Reads and collates the micro-batches that are wanted. What goes wrong comes back as a value."""

    reader: SampleReader
    image_token_id: int
    ratios: tuple[StepRatio, ...]

    def __getitem__(self, wanted: Request) -> "Batch | AuroraError":
        ratio = self.ratios[wanted.ratio]
        try:
            samples = [self.reader.pack(numbers, ratio.token_counts) for numbers in wanted.packs]
        except AuroraError as error:  # raised over there it would carry the worker's traceback as its message
            return error
        cache = self.reader.features
        batch = collate(
            samples,
            image_token_id=self.image_token_id,
            token_counts=ratio.token_counts,
            merging=ratio.merging,
            form=None if cache is None else cache.form,
        )
        if wanted.teacher is None:
            return batch
        teacher = self.ratios[wanted.teacher]
        return with_teacher(
            batch,
            samples,
            image_token_id=self.image_token_id,
            token_counts=teacher.token_counts,
            merging=teacher.merging,
            pack_tokens=self.reader.pack_tokens,
        )


def read_ahead(
    micro_batches: MicroBatches,
    wanted: Iterable[Request],
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
    # Workers ignore the SIGTERM with which multiprocessing ends them when this process exits: end them before.
    reference = weakref.ref(batches)
    atexit.register(lambda: (alive := reference()) is not None and alive.close())
    return batches


def _read_by_workers(
    micro_batches: MicroBatches, wanted: Iterable[Request], workers: int
) -> Generator[Batch, None, None]:
    from torch.utils.data import DataLoader

    loader = DataLoader(
        micro_batches,  # pyrefly: ignore[bad-argument-type] - any object with __getitem__ will do
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
    """The batch with its frames normalised: (F, 3, S, S) float32, in pinned memory where a CUDA card will take them;
    kept features are there, too."""
    if batch.pixel_values is None:
        return batch
    import torch

    from aurora_cli.data.media.transforms import normalise

    pixel_values, features = normalise(batch.pixel_values, mean, std), batch.features
    # From pinned memory they cross to the card while it computes; from other memory the step waits for them.
    if torch.cuda.is_available():
        pixel_values = pixel_values.pin_memory()
        features = None if features is None else features.pin_memory()
    return batch._replace(pixel_values=pixel_values, features=features)


def _unchanged(value: Any) -> Any:
    return value


def _ignore_signals(_worker: int) -> None:
    """Ctrl-C and SIGTERM reach the whole process group; the training process answers them, at a step's end."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
