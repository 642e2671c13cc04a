"""A toy captioner and a run of it, small enough that two processes and every engine take seconds.

`python toy.py OPTIONS.json` is one worker; `run(Options(...))` starts as many as asked, or trains in this process.
"""

import dataclasses
import errno
import itertools
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from aurora_cli.config.training import ModuleTraining, TrainSettings
from aurora_cli.console import SILENT, Reporter
from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.batches.collator import Batch, TrainingSample, collate
from aurora_cli.data.batches.loader import with_floats
from aurora_cli.errors import HostError
from aurora_cli.models.merge_plan import FrameTokenCounts
from aurora_cli.models.packed_rows import PackedRows
from aurora_cli.runs import checkpoints, lines
from aurora_cli.runs.metadata import TrainState
from aurora_cli.training import checkpoint, optim, trainer
from aurora_cli.training.checkpoint import TrainingCheckpoint
from aurora_cli.training.engine import deepspeed_config, engine
from aurora_cli.training.guards import Guards, MediaLimit
from aurora_cli.training.processes import collectives, launcher, signals, worker
from aurora_cli.training.processes.ranks import Rank, rank_from_environment
from aurora_cli.training.processes.watchdog import Watchdog
from aurora_cli.training.run_folder import RunFolder
from aurora_cli.training.trained_parts import trained_parts
from tests.run_files import metadata

VOCABULARY = 23
IMAGE_TOKEN = 0
SIDE = 2
"""Of a frame, in pixels."""
COUNTS = FrameTokenCounts(merged=1, first=1)
WIDTH = 14  # the projector's bias of 14 and 7 classes do not divide by two ranks: padding is tried
SAMPLES_A_STEP = 4
PREFIXES = {
    "vision_tower": ("model.vision_tower.",),
    "projector": ("model.multi_modal_projector.",),
    "language_model": ("model.language_model.", "lm_head."),
}


@dataclass(frozen=True)
class Options:
    run_dir: str
    engine: str = "none"
    processes: int = 1
    micro: int = 1
    steps: int = 6
    every: int = 2
    keep: int = 2
    resume: bool = False
    decay: float = 0.0
    precision: str = "fp32"
    trained: tuple[str, ...] = ("projector", "vision_tower", "language_model")
    kill_after: int = 0
    """End this process like kill -9 would, after so many steps."""
    stop_after: int = 0
    """Behave as if a signal had come in this step."""
    full_disk_after: int = -1
    """The disk is full once so many tensors have been written into checkpoints."""
    fail_rank: int = -1
    """This rank raises in step 2."""
    hang_rank: int = -1
    watchdog_s: float = 60.0
    step_s: float = 0.0
    text_only_rank: int = -1


class Toy(nn.Module):
    """The names and the call of AuroraCap around one linear layer a part."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.vision_tower = nn.Linear(3 * SIDE * SIDE, WIDTH)
        self.model.multi_modal_projector = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU())
        self.model.language_model = nn.Sequential(nn.Embedding(VOCABULARY, WIDTH), nn.LayerNorm(WIDTH))
        self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def part_parameters(self, part: str) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.named_parameters() if name.startswith(PREFIXES[part])}

    def forward(
        self,
        *,
        packed: PackedRows,
        num_items_in_batch: torch.Tensor,
        always_encode: bool,
        merging: None = None,
    ) -> SimpleNamespace:
        input_ids, labels, pixel_values, weight = packed.input_ids, packed.labels, packed.pixel_values, 1.0
        if pixel_values is None:
            pixel_values, weight = torch.zeros(len(input_ids), 3, SIDE, SIDE, device=input_ids.device), 0.0
        seen = self.model.multi_modal_projector(
            self.model.vision_tower(pixel_values.flatten(1).to(self.lm_head.weight.dtype))
        )
        hidden = self.model.language_model(input_ids)
        if weight or always_encode:
            hidden = hidden + weight * seen[:, None]
        logits = self.lm_head(hidden).float()
        losses = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
        return SimpleNamespace(loss=losses / num_items_in_batch)


def batch_of(samples: Sequence[int], text_only: bool = False) -> Batch:
    """Samples of one length, each in a pack of its own, whose labels differ in number: a wrong denominator shows."""
    batch = collate([[_sample(one, text_only)] for one in samples], image_token_id=IMAGE_TOKEN, token_counts=COUNTS)
    return with_floats(batch, mean=(0.5, 0.5, 0.5), std=(0.3, 0.3, 0.3))


def _sample(number: int, text_only: bool) -> TrainingSample:
    generator = np.random.default_rng(number)
    text = generator.integers(IMAGE_TOKEN + 1, VOCABULARY, 9, dtype=np.int32)
    labels = np.where(np.arange(9) < 2 + number % 5, IGNORE_INDEX, text).astype(np.int32)
    if text_only:
        return TrainingSample(number, str(number), text, labels, [], None)
    frames = generator.integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    input_ids = np.concatenate([np.array([IMAGE_PLACEHOLDER], np.int32), text])
    labels = np.concatenate([np.array([IGNORE_INDEX], np.int32), labels])
    return TrainingSample(number, str(number), input_ids, labels, [1], frames)


def sample_ids(step: int) -> list[int]:
    return list(range((step - 1) * SAMPLES_A_STEP, step * SAMPLES_A_STEP))


@dataclass(frozen=True)
class ToySource:
    """The steps of a run, with what is to happen in them."""

    options: Options
    has_validation = False

    @property
    def total_steps(self) -> int:
        return self.options.steps

    def epoch_after(self, step: int) -> float:
        return step / self.total_steps

    def batches(self, rank: int, world_size: int, *, start_step: int) -> Iterator[list[Batch]]:
        options, share = self.options, world_size * self.options.micro
        for step in range(start_step + 1, self.total_steps + 1):
            if rank == options.fail_rank and step == 2:
                raise ValueError(f"rank {rank} is meant to fail")
            if rank == options.hang_rank and step == 2:
                threading.Event().wait(60)
            if options.kill_after and step > options.kill_after:
                os._exit(9)
            threading.Event().wait(options.step_s)
            ids = sample_ids(step)
            yield [
                batch_of(
                    ids[micro * share + rank * options.micro :][: options.micro],
                    text_only=rank == options.text_only_rank,
                )
                for micro in range(SAMPLES_A_STEP // share)
            ]

    def validation_batches(self, rank: int, world_size: int) -> Iterator[list[Batch]]:
        return iter(())


def fill_disk(tensors: int) -> None:
    """Let the disk be full after so many tensors; negative: never."""
    written = iter(range(tensors)) if tensors >= 0 else itertools.count()
    whole = checkpoint.TensorFile.write

    def write(file: checkpoint.TensorFile, tensor: torch.Tensor) -> None:
        if next(written, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(file, tensor)

    checkpoint.TensorFile.write = write


def work(options: Options, rank: Rank, reporter: Reporter = SILENT) -> dict[str, Any]:
    """One rank of a run."""
    run_dir = Path(options.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    fill_disk(options.full_disk_after)
    how = ModuleTraining(lr=1e-2, weight_decay=options.decay)
    settings = TrainSettings(
        micro_batch_packs=options.micro,
        global_batch_packs=SAMPLES_A_STEP,
        deepspeed=options.engine,
        precision=options.precision,
        **dict.fromkeys(options.trained, how),
    )
    accumulation = SAMPLES_A_STEP // (rank.world_size * options.micro)
    collectives.join_process_group(rank)
    torch.manual_seed(0)
    model = Toy()
    trained = trained_parts(settings)
    parameters = optim.trained_parameters(model, trained)
    optim.freeze_all_but(model, parameters)
    start = checkpoints.newest(run_dir / "checkpoints") if options.resume else None
    saved = None if start is None else TrainingCheckpoint(start)
    if saved is not None:
        saved.write_into(dict(model.named_parameters()))
    running = engine.prepare(
        model,
        optim.parameter_groups(parameters, trained),
        settings,
        rank,
        accumulation=accumulation,
        config=deepspeed_config.read_config(options.engine, Path()),
    )
    state = TrainState() if saved is None else saved.state
    if saved is not None:
        running.restore(saved.parameters(running.shapes()), state.step)
    folder = RunFolder(
        run_dir, metadata("toy", options.steps, options.trained), keep=options.keep, is_main=rank.is_main
    )
    folder.begin_after(None if saved is None else state.step, [])
    running.barrier()
    request = signals.StopRequest()

    def on_timeout(error: HostError) -> None:
        if isinstance(reporter, worker.PipeReporter):
            reporter.fail(error)
        os._exit(error.exit_code)

    def stop_requested() -> bool:
        step = sum(1 for _ in lines.read_objects(run_dir / "metrics.jsonl")) + 1
        return request.requested or (rank.is_main and step == options.stop_after)

    with signals.on_stop_signals(request), Watchdog(options.watchdog_s, rank.rank, on_timeout) as watchdog:
        result = trainer.Trainer(
            engine=running,
            source=ToySource(options),
            folder=folder,
            options=trainer.LoopOptions(every=options.every, warmup_ratio=0.2, seed=0, always_encode=True),
            guards=Guards(MediaLimit(1.0, 1)),
            callback=watchdog,
            reporter=reporter,
            stop_requested=stop_requested,
        ).train(state)
    return {"step": result.state.step, "loss": result.loss, "order_hash": result.state.order_hash}


def run(options: Options, *more: Options, reporter: Reporter = SILENT) -> dict[str, Any]:
    """Whole runs, one after another, in as many processes as the first says; always in processes of their own."""
    folder = Path(options.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "options.json"
    config.write_text(json.dumps([dataclasses.asdict(one) for one in (options, *more)]))
    command = [sys.executable, __file__, str(config)]
    return launcher.run_workers(command, options.processes, logs=folder / "logs", reporter=reporter)


def work_all(runs: list[Options], rank: Rank, reporter: Reporter) -> dict[str, Any]:
    """Importing torch and DeepSpeed costs more than a run: the same processes do several."""
    last: dict[str, Any] = {}
    for one in runs:
        last = work(one, rank, reporter)
        engine.forget()
    return last


if __name__ == "__main__":
    given = [Options(**{**one, "trained": tuple(one["trained"])}) for one in json.loads(Path(sys.argv[1]).read_text())]
    own_rank = rank_from_environment() or Rank()
    worker.serve(lambda reporter: work_all(given, own_rank, reporter))
