"""What a model in training writes of a few fixed images and videos, every so many steps: `runs/<stage>/samples/`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.data.tokenization.tokenizer import decode
from aurora_cli.io.atomic import atomic_write
from aurora_cli.pipeline.train.captions.prompts import CaptionPrompt, choose_prompts
from aurora_cli.pipeline.train.captions.writing import write_captions
from aurora_cli.reports.samples import SHOWN_FRAMES
from aurora_cli.runs.layout import SAMPLES
from aurora_cli.runs.lines import CaptionLine, MetricsLine, write_lines
from aurora_cli.training.callbacks.callback import Callback
from aurora_cli.training.engine.engine import Engine

MOST_NEW_TOKENS = 128
SIDE = 224
"""Pixels of an image in the report, at most."""


class Captions(Callback):
    """Greedy captions, in one batch. Under ZeRO-3 every rank takes part; otherwise rank 0 alone."""

    def __init__(
        self, data: TrainingData, run_dir: Path, every: int, count: int, end_ids: Sequence[int] | None = None
    ) -> None:
        """`end_ids` as in `write_captions`."""
        self._data = data
        self._end_ids = end_ids
        self._folder = run_dir / SAMPLES
        self._every = every
        self._count = count
        self._prompts: list[CaptionPrompt] | None = None

    def on_step_end(self, engine: Engine, line: MetricsLine) -> None:
        step = line.step
        if (step % self._every and step != self._data.total_steps) or not (engine.is_main or engine.zero_stage == 3):
            return
        if self._prompts is None:
            self._prompts = choose_prompts(self._data, self._count)
        if not self._prompts:
            return
        captions = write_captions(
            engine,
            self._prompts,
            self._data.plan,
            end_ids=self._end_ids,
            max_new_tokens=min(MOST_NEW_TOKENS, max(len(one.answer) for one in self._prompts)),
        )
        if engine.is_main:
            _keep_images(self._folder, self._prompts)
            lines = (_line(one, caption) for one, caption in zip(self._prompts, captions, strict=True))
            write_lines(self._folder / f"step-{step:08d}.jsonl", lines)


def _line(one: CaptionPrompt, caption: str) -> CaptionLine:
    return CaptionLine(
        sample=one.sample.number,
        id=one.sample.id,
        frames=tuple(one.sample.media_lengths),
        prompt=decode(one.tokenizer, one.prompt.tolist()),
        caption=caption,
        reference=one.reference,
    )


def _keep_images(folder: Path, prompts: list[CaptionPrompt]) -> None:
    """The frames of each prompt, side by side, for those who read the captions."""
    for one in prompts:
        path = folder / f"{one.sample.number}.jpg"
        if path.exists() or one.sample.frames is None:
            continue
        frames = one.sample.frames
        shown = frames[np.unique(np.linspace(0, len(frames) - 1, SHOWN_FRAMES).astype(int))]
        strip = Image.fromarray(np.concatenate(list(shown), axis=1))
        scale = min(1.0, SIDE / strip.height)
        with atomic_write(path) as file:
            strip.resize((round(strip.width * scale), round(strip.height * scale))).save(file, "jpeg", quality=85)
