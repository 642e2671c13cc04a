"""The real network under ZeRO-3 on two processes, one of which has only text in every step.

`python mixed.py FOLDER STEPS SLOWFAST` is one worker; `run` starts both.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aurora_cli.checkpoints.blueprint import llava_config
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.training import ModelSettings, ModuleTraining, TrainSettings
from aurora_cli.console import SILENT, Reporter
from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.batches.collator import Batch, TrainingSample, collate
from aurora_cli.data.batches.loader import with_floats
from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig
from aurora_cli.runs.metadata import TrainState
from aurora_cli.training import optim, trainer
from aurora_cli.training.engine import deepspeed_config, engine
from aurora_cli.training.guards import Guards, MediaLimit
from aurora_cli.training.processes import collectives, launcher
from aurora_cli.training.processes.ranks import Rank, rank_from_environment
from aurora_cli.training.processes.watchdog import Watchdog
from aurora_cli.training.processes.worker import serve
from aurora_cli.training.run_folder import RunFolder
from aurora_cli.training.trained_parts import trained_parts
from tests.distributed.tiny_workspace import MODEL
from tests.run_files import metadata

KINDS: tuple[tuple[list[int], bool], ...] = (
    ([1], True),
    ([3], True),
    ([1, 1], True),
    ([3, 1], True),
    ([1], False),  # an image, and no target token
    ([3], False),
    ([], False),  # text, and no target token
)
"""Media of the other rank's sample, and whether it has target tokens."""


def sample(number: int, media: list[int], has_targets: bool) -> TrainingSample:
    generator = np.random.default_rng(number)
    text = generator.integers(4, 600, 9, dtype=np.int32)
    input_ids = np.concatenate([np.full(sum(media), IMAGE_PLACEHOLDER, np.int32), text])
    labels = np.where(np.arange(len(input_ids)) < sum(media) + 3, IGNORE_INDEX, input_ids)
    frames = generator.integers(0, 256, (sum(media), 28, 28, 3), dtype=np.uint8) if media else None
    return TrainingSample(
        number, str(number), input_ids, labels, media, frames, None, None if has_targets else "left out"
    )


@dataclass(frozen=True)
class MixedSource:
    """One sample a step and rank: on one of the ranks text alone, on the other each of `KINDS`."""

    model: AuroraCap
    total_steps: int
    has_validation = False

    def epoch_after(self, step: int) -> float:
        return step / self.total_steps

    def batches(self, rank: int, world_size: int, *, start_step: int) -> Iterator[list[Batch]]:
        counts, settings = self.model.config.frame_token_counts(28, 28), ModelSettings()
        for step in range(start_step, self.total_steps):
            only_text = (step // len(KINDS)) % 2 == rank
            media, has_targets = ([], True) if only_text else KINDS[step % len(KINDS)]
            batch = collate(
                [[sample(2 * step + rank, media, has_targets)]],
                image_token_id=self.model.config.image_token_id,
                token_counts=counts,
            )
            yield [with_floats(batch, settings.image_mean, settings.image_std)]

    def validation_batches(self, rank: int, world_size: int) -> Iterator[list[Batch]]:
        return iter(())


def work(folder: Path, steps: int, slowfast: bool, rank: Rank, reporter: Reporter = SILENT) -> dict[str, Any]:
    merging = TokenMerging(kept_ratio=0.5, slowfast=slowfast)
    settings = ModelSettings(**MODEL)
    assert settings.vision_config is not None
    assert settings.text_config is not None
    values = llava_config(settings.vision_config, settings.text_config, settings).to_dict()
    collectives.join_process_group(rank)
    torch.manual_seed(0)
    model = AuroraCap(AuroraCapConfig.from_dict({**values, "merging": merging.model_dump(), "image_size": 28}))
    how = ModuleTraining(lr=1e-3)
    train = TrainSettings(
        vision_tower=how, projector=how, language_model=how, global_batch_packs=2, gradient_checkpointing=True
    )
    model.checkpoint_activations()
    trained = trained_parts(train)
    parameters = optim.trained_parameters(model, trained)
    optim.freeze_all_but(model, parameters)
    running = engine.prepare(
        model,
        optim.parameter_groups(parameters, trained),
        train,
        rank,
        accumulation=1,
        config=deepspeed_config.read_config("zero3", Path()),
    )
    with Watchdog(60, rank.rank, lambda error: reporter.warning(str(error))) as watchdog:
        outcome = trainer.Trainer(
            engine=running,
            source=MixedSource(model, steps),
            folder=RunFolder(folder, metadata("mixed", steps, tuple(trained)), keep=1, is_main=rank.is_main),
            options=trainer.LoopOptions(every=steps, warmup_ratio=0.0, seed=0, always_encode=True),
            guards=Guards(MediaLimit(1.0, steps)),
            callback=watchdog,
            reporter=reporter,
            stop_requested=lambda: False,
        ).train(TrainState())
    return {"step": outcome.state.step, "loss": outcome.loss}


def run(folder: Path, steps: int, slowfast: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, str(folder), str(steps), str(int(slowfast))]
    return launcher.run_workers(command, 2, logs=folder / "logs", reporter=SILENT)


if __name__ == "__main__":
    target, number, slow = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"
    own_rank = rank_from_environment() or Rank()
    serve(lambda reporter: work(target, number, slow, own_rank, reporter))
