"""What a model in training says of a few fixed images and videos, every so many steps: `runs/<stage>/samples/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aurora_cli.constants import IMAGE_PLACEHOLDER
from aurora_cli.data.token_store.folder import TOKENIZER
from aurora_cli.data.token_store.labels import answer_spans
from aurora_cli.io.atomic import atomic_write
from aurora_cli.training.callbacks.callback import Callback

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

    from aurora_cli.data.batches.collator import TrainingSample
    from aurora_cli.data.batches.training_data import TrainingData
    from aurora_cli.training.engine.engine import Engine

from aurora_cli.runs.layout import SAMPLES
from aurora_cli.runs.lines import CaptionLine, MetricsLine, write_lines

MOST_NEW_TOKENS = 128
NEIGHBOURS = 4
SHOWN_FRAMES = 3
SIDE = 224
"""Pixels of an image in the report, at most."""


@dataclass(frozen=True)
class Asked:
    """One sample up to its first answer."""

    sample: "TrainingSample"
    prompt: np.ndarray
    """int32, IMAGE_PLACEHOLDER for every frame."""
    answer: np.ndarray
    tokenizer: "Tokenizer"

    def line(self, caption: str) -> CaptionLine:
        from aurora_cli.data.tokenization.tokenizer import decode

        return CaptionLine(
            sample=self.sample.number,
            id=self.sample.id,
            frames=tuple(self.sample.media_lengths),
            prompt=decode(self.tokenizer, self.prompt.tolist()),
            caption=caption.strip(),
            reference=self.tokenizer.decode(self.answer.tolist()).strip(),
        )


class Captions(Callback):
    """Greedy captions, in one batch. Under ZeRO-3 every rank takes part; otherwise rank 0 alone."""

    def __init__(self, data: "TrainingData", run_dir: Path, every: int, wanted: int) -> None:
        self._data = data
        self._folder = run_dir / SAMPLES
        self._every = every
        self._wanted = wanted
        self._asked: list[Asked] | None = None

    def on_step_end(self, engine: "Engine", line: MetricsLine) -> None:
        step = line.step
        if (step % self._every and step != self._data.total_steps) or not (engine.is_main or engine.zero_stage == 3):
            return
        if self._asked is None:
            self._asked = choose(self._data, self._wanted)
        if not self._asked:
            return
        captions = self._captions(engine, self._asked)
        if engine.is_main:
            _keep_images(self._folder, self._asked)
            lines = (one.line(caption) for one, caption in zip(self._asked, captions, strict=True))
            write_lines(self._folder / f"step-{step:08d}.jsonl", lines)

    def _captions(self, engine: "Engine", asked: list[Asked]) -> list[str]:
        import torch

        from aurora_cli.data.media.transforms import normalise

        frames = torch.from_numpy(np.concatenate([one.sample.frames for one in asked if one.sample.frames is not None]))
        pixels = normalise(frames, self._data.plan.image_mean, self._data.plan.image_std)
        ids, mask = _rows([one.prompt for one in asked])
        model: Any = engine.module
        ends = model.generation_config.eos_token_id
        model.eval()
        try:
            with torch.no_grad(), engine.accelerator.autocast():
                new = model.generate(
                    input_ids=ids.to(engine.device),
                    attention_mask=mask.to(engine.device),
                    pixel_values=pixels.to(engine.device),
                    media_lengths=[length for one in asked for length in one.sample.media_lengths],
                    max_new_tokens=min(MOST_NEW_TOKENS, max(len(one.answer) for one in asked)),
                    do_sample=False,
                    pad_token_id=ends[0] if isinstance(ends, list) else ends,
                    # under ZeRO-3 a rank whose captions have ended goes on gathering weights for the others
                    synced_gpus=engine.zero_stage == 3 and engine.world_size > 1,
                )
        finally:
            model.train()
        return [one.tokenizer.decode(row) for one, row in zip(asked, new.tolist(), strict=True)]


def choose(data: "TrainingData", wanted: int) -> list[Asked]:
    """Samples spread evenly over the held-out ones, or else over all; of each and the three after it, the first that
    can be read and asked."""
    from tokenizers import Tokenizer

    corpus = data.corpus
    numbers = corpus.validation if len(corpus.validation) else corpus.epoch(0)
    numbers = np.unique(numbers[corpus.frames[numbers] > 0])
    chosen: dict[int, Asked] = {}
    for begin in np.linspace(0, max(0, len(numbers) - 1), wanted).astype(int):
        for number in numbers[begin : begin + NEIGHBOURS].tolist():
            place = int(np.searchsorted(corpus.starts, number, side="right")) - 1
            (sample,) = data.reader.pack(np.array([number]))
            asked = _asked(sample, Tokenizer.from_file(str(corpus.stores[place].folder / TOKENIZER)))
            if asked is not None:
                chosen[number] = asked
                break
    return list(chosen.values())


def _asked(sample: "TrainingSample", tokenizer: "Tokenizer") -> Asked | None:
    """None if it cannot be read, or an image comes after the first answer."""
    if sample.failure is not None:
        return None
    spans = answer_spans(sample.labels)
    if not spans:
        return None
    start, stop = spans[0]
    if (sample.input_ids[start:] == IMAGE_PLACEHOLDER).any():
        return None
    return Asked(sample, sample.input_ids[:start], sample.input_ids[start:stop], tokenizer)


def _rows(prompts: list[np.ndarray]) -> "tuple[torch.Tensor, torch.Tensor]":
    """Ids and mask (B, T), padded behind."""
    import torch

    ids = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.from_numpy(prompt.astype(np.int64))
        mask[row, : len(prompt)] = 1
    return ids, mask


def _keep_images(folder: Path, asked: list[Asked]) -> None:
    """The frames that were asked about, side by side, for those who read the captions."""
    from PIL import Image

    for one in asked:
        path = folder / f"{one.sample.number}.jpg"
        if path.exists() or one.sample.frames is None:
            continue
        frames = one.sample.frames
        shown = frames[np.unique(np.linspace(0, len(frames) - 1, SHOWN_FRAMES).astype(int))]
        strip = Image.fromarray(np.concatenate(list(shown), axis=1))
        scale = min(1.0, SIDE / strip.height)
        with atomic_write(path) as file:
            strip.resize((round(strip.width * scale), round(strip.height * scale))).save(file, "jpeg", quality=85)
