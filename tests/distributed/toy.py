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
from typing import Any, NamedTuple

import torch
from torch import nn

from aurora_cli.config.training import ModuleTraining, TrainSettings
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import HostError
from aurora_cli.models.packed_rows import PackedRows
from aurora_cli.runs import checkpoints, lines
from aurora_cli.runs.metadata import TrainState
from aurora_cli.training import checkpoint, optim, trainer
from aurora_cli.training.checkpoint import TrainingCheckpoint
from aurora_cli.training.engine import deepspeed_config, engine
from aurora_cli.training.guards import MediaLimit
from aurora_cli.training.processes import collectives, launcher, signals, worker
from aurora_cli.training.processes.ranks import Rank, rank_from_environment
from aurora_cli.training.processes.watchdog import watching
from tests.run_files import metadata

VOCABULARY = 23
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
        self.model.vision_tower = nn.Linear(5, WIDTH)
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
    ) -> SimpleNamespace:
        input_ids, labels, pixel_values, weight = packed.input_ids, packed.labels, packed.pixel_values, 1.0
        if pixel_values is None:
            pixel_values, weight = torch.zeros(len(input_ids), 5, device=input_ids.device), 0.0
        seen = self.model.multi_modal_projector(self.model.vision_tower(pixel_values.to(self.lm_head.weight.dtype)))
        hidden = self.model.language_model(input_ids)
        if weight or always_encode:
            hidden = hidden + weight * seen[:, None]
        logits = self.lm_head(hidden).float()
        losses = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
        return SimpleNamespace(loss=losses / num_items_in_batch)


class ToyBatch(NamedTuple):
    input_ids: torch.Tensor
    position_ids: torch.Tensor
    segment_ids: torch.Tensor
    labels: torch.Tensor
    pixel_values: torch.Tensor | None
    media_lengths: torch.Tensor | None
    sample_ids: list[int]
    target_tokens: int
    text_tokens: int
    visual_tokens: int
    positions: int
    media_files: int
    rejected: list[dict[str, Any]]


def batch_of(samples: Sequence[int], text_only: bool = False) -> ToyBatch:
    """Samples of one length, whose labels differ in number, so that a wrong denominator shows."""
    rows, labels, pixels = [], [], []
    for sample in samples:
        generator = torch.Generator().manual_seed(sample)
        row = torch.randint(VOCABULARY, (9,), generator=generator)
        target = row.clone()
        target[: 2 + sample % 5] = -100
        rows.append(row)
        labels.append(target)
        pixels.append(torch.randn(5, generator=generator))
    ids, labels_PT = torch.stack(rows), torch.stack(labels)
    return ToyBatch(
        ids, ids, ids, labels_PT, None if text_only else torch.stack(pixels), None,
        list(samples), int((labels_PT[:, 1:] != -100).sum()), ids.numel(), 0, ids.numel(), 0, [],
    )  # fmt: skip


@dataclass(frozen=True)
class ToyCourse:
    total_steps: int

    def epoch_after(self, step: int) -> float:
        return step / self.total_steps


def sample_ids(step: int) -> list[int]:
    return list(range((step - 1) * SAMPLES_A_STEP, step * SAMPLES_A_STEP))


def steps_of(options: Options, course: ToyCourse, place: Rank, first: int) -> Iterator[list[ToyBatch]]:
    share = place.world_size * options.micro
    for step in range(first, course.total_steps + 1):
        if place.rank == options.fail_rank and step == 2:
            raise ValueError(f"rank {place.rank} is meant to fail")
        if place.rank == options.hang_rank and step == 2:
            threading.Event().wait(60)
        if options.kill_after and step > options.kill_after:
            os._exit(9)
        threading.Event().wait(options.step_s)
        ids = sample_ids(step)
        yield [
            batch_of(
                ids[micro * share + place.rank * options.micro :][: options.micro],
                text_only=place.rank == options.text_only_rank,
            )
            for micro in range(SAMPLES_A_STEP // share)
        ]


def fill_disk(tensors: int) -> None:
    """Let the disk be full after so many tensors; negative: never."""
    written = iter(range(tensors)) if tensors >= 0 else itertools.count()
    whole = checkpoint.TensorFile.write

    def write(file: checkpoint.TensorFile, tensor: torch.Tensor) -> None:
        if next(written, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(file, tensor)

    checkpoint.TensorFile.write = write  # pyright: ignore[reportAttributeAccessIssue]


def work(options: Options, place: Rank, reporter: Reporter = SILENT) -> dict[str, Any]:
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
    accumulation = SAMPLES_A_STEP // (place.world_size * options.micro)
    collectives.join_process_group(place)
    torch.manual_seed(0)
    model = Toy()
    trained = optim.trained_modules(settings)
    learning = optim.learning_parameters(model, trained)
    optim.freeze_all_but(model, learning)
    position = TrainState()
    start = checkpoints.newest(run_dir / "checkpoints") if options.resume else None
    saved = None if start is None else TrainingCheckpoint(start)
    if saved is not None:
        position = saved.state
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for one in saved.parameters(shapes):
                dict(model.named_parameters())[one.name].copy_(one.weight)
    running = engine.prepare(
        model,
        optim.parameter_groups(learning, trained),
        settings,
        place,
        accumulation=accumulation,
        config=deepspeed_config.read_config(options.engine, Path()),
    )
    if saved is not None:
        running.restore(saved.parameters(running.shapes()), position.step)
    if place.is_main:
        lines.cut_back(run_dir / "metrics.jsonl", position.step)
    running.barrier()
    course = ToyCourse(options.steps)
    request = signals.StopRequest()
    loop = trainer.LoopConfig(
        run_dir,
        metadata("toy", options.steps, options.trained),
        options.every, options.keep, 0.2, 0, always_encode=True, media_limit=MediaLimit(1.0, 1),
    )  # fmt: skip

    def on_timeout(error: HostError) -> None:
        if isinstance(reporter, worker.PipeReporter):
            reporter.fail(error)
        os._exit(error.exit_code)

    def asked() -> bool:
        step = sum(1 for _ in lines.read_objects(run_dir / "metrics.jsonl")) + 1
        return request.asked or (place.is_main and step == options.stop_after)

    with signals.on_stop_signals(request), watching(options.watchdog_s, place.rank, on_timeout) as watchdog:
        outcome = trainer.train(
            running, steps_of(options, course, place, position.step + 1), course, loop, position,
            reporter=reporter, watchdog=watchdog, stop_asked=asked,
        )  # fmt: skip
    return {"step": outcome.position.step, "loss": outcome.loss, "order_hash": outcome.position.order_hash}


def run(options: Options, *more: Options, reporter: Reporter = SILENT) -> dict[str, Any]:
    """Whole runs, one after another, in as many processes as the first says; always in processes of their own."""
    folder = Path(options.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "options.json"
    config.write_text(json.dumps([dataclasses.asdict(one) for one in (options, *more)]))
    command = [sys.executable, __file__, str(config)]
    return launcher.run_workers(command, options.processes, logs=folder / "logs", reporter=reporter)


def work_all(runs: list[Options], place: Rank, reporter: Reporter) -> dict[str, Any]:
    """Importing torch and DeepSpeed costs more than a run: the same processes do several."""
    said: dict[str, Any] = {}
    for one in runs:
        said = work(one, place, reporter)
        engine.forget()
    return said


if __name__ == "__main__":
    chosen = [Options(**{**one, "trained": tuple(one["trained"])}) for one in json.loads(Path(sys.argv[1]).read_text())]
    here = rank_from_environment() or Rank()
    worker.serve(lambda reporter: work_all(chosen, here, reporter))
