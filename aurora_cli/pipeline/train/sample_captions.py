"""What a model in training writes of a few fixed images and videos, every so many steps: `runs/<stage>/samples/`."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer

from aurora_cli.captioning.generation import before_end
from aurora_cli.checkpoints.locate import locate
from aurora_cli.config.settings import Settings
from aurora_cli.constants import IMAGE_PLACEHOLDER
from aurora_cli.data.batches.collator import TrainingSample
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.data.media.transforms import normalise
from aurora_cli.data.token_store.folder import TOKENIZER
from aurora_cli.data.token_store.labels import answer_spans
from aurora_cli.data.token_store.manifest import StoreManifest
from aurora_cli.data.token_store.schema import MANIFEST
from aurora_cli.data.tokenization.prompt import Prompter
from aurora_cli.data.tokenization.tokenizer import decode, load_tokenizer
from aurora_cli.errors import AuroraError
from aurora_cli.io.atomic import atomic_write
from aurora_cli.reports.samples import SHOWN_FRAMES
from aurora_cli.runs.layout import SAMPLES
from aurora_cli.runs.lines import CaptionLine, MetricsLine, write_lines
from aurora_cli.training.callbacks.callback import Callback
from aurora_cli.training.engine.engine import Engine

MOST_NEW_TOKENS = 128
NEIGHBOURS = 4
SIDE = 224
"""Pixels of an image in the report, at most."""


class CaptionPrompt(NamedTuple):
    """One sample up to its first answer, which the model is to write."""

    sample: TrainingSample
    prompt: np.ndarray
    """int32, IMAGE_PLACEHOLDER for every frame."""
    answer: np.ndarray
    tokenizer: Tokenizer

    def line(self, caption: str) -> CaptionLine:
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

    def __init__(
        self, data: TrainingData, run_dir: Path, every: int, count: int, end_ids: Sequence[int] | None = None
    ) -> None:
        """`end_ids`: what ends an answer; none: what the model says."""
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
        captions = self._captions(engine, self._prompts)
        if engine.is_main:
            _keep_images(self._folder, self._prompts)
            lines = (one.line(caption) for one, caption in zip(self._prompts, captions, strict=True))
            write_lines(self._folder / f"step-{step:08d}.jsonl", lines)

    def _captions(self, engine: Engine, prompts: list[CaptionPrompt]) -> list[str]:
        frames = torch.from_numpy(
            np.concatenate([one.sample.frames for one in prompts if one.sample.frames is not None])
        )
        pixels = normalise(frames, self._data.plan.image_mean, self._data.plan.image_std)
        ids, mask = _rows([one.prompt for one in prompts])
        model: Any = engine.module
        ends = self._end_ids or model.generation_config.eos_token_id
        ends = [*ends] if isinstance(ends, Sequence) else [ends]
        model.eval()
        try:
            with torch.no_grad(), engine.accelerator.autocast():
                new = model.generate(
                    input_ids=ids.to(engine.device),
                    attention_mask=mask.to(engine.device),
                    pixel_values=pixels.to(engine.device),
                    media_lengths=[length for one in prompts for length in one.sample.media_lengths],
                    max_new_tokens=min(MOST_NEW_TOKENS, max(len(one.answer) for one in prompts)),
                    do_sample=False,
                    eos_token_id=ends,
                    pad_token_id=ends[0],
                    # under ZeRO-3 a rank whose captions have ended goes on gathering weights for the others
                    synced_gpus=engine.zero_stage == 3 and engine.world_size > 1,
                )
        finally:
            model.train()
        return [one.tokenizer.decode(before_end(row, ends)) for one, row in zip(prompts, new.tolist(), strict=True)]


def end_ids_of(settings: Settings, store: Path) -> list[int] | None:
    """What ends an answer in a store's template, by the rule of `aurora caption` and of exports.

    None: the tokenizer that wrote it cannot be read any more, nor can the model's.
    """
    for name in (StoreManifest.read(store / MANIFEST).tokenizer, settings.model.tokenizer):
        with contextlib.suppress(AuroraError):
            if name is not None:
                tokenizer = load_tokenizer(locate(name, settings.workspace))
                return Prompter(tokenizer, settings.tokenize.template).end_ids
    return None


def choose_prompts(data: TrainingData, count: int) -> list[CaptionPrompt]:
    """Of samples spread evenly over the validation samples, or else over all.

    Of each and the three after it, the first that can be read and has an answer.
    """
    corpus = data.corpus
    numbers = corpus.validation if len(corpus.validation) else corpus.epoch(0)
    numbers = np.unique(numbers[corpus.frames[numbers] > 0])
    prompts: dict[int, CaptionPrompt] = {}
    for begin in np.linspace(0, max(0, len(numbers) - 1), count).astype(int):
        for number in numbers[begin : begin + NEIGHBOURS].tolist():
            store = int(np.searchsorted(corpus.starts, number, side="right")) - 1
            (sample,) = data.reader.pack(np.array([number]))
            prompt = _prompt_of(sample, Tokenizer.from_file(str(corpus.stores[store].folder / TOKENIZER)))
            if prompt is not None:
                prompts[number] = prompt
                break
    return list(prompts.values())


def _prompt_of(sample: TrainingSample, tokenizer: Tokenizer) -> CaptionPrompt | None:
    """None if it cannot be read, or an image comes after the first answer."""
    if sample.failure is not None:
        return None
    spans = answer_spans(sample.labels)
    if not spans:
        return None
    start, stop = spans[0]
    if (sample.input_ids[start:] == IMAGE_PLACEHOLDER).any():
        return None
    return CaptionPrompt(sample, sample.input_ids[:start], sample.input_ids[start:stop], tokenizer)


def _rows(prompts: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (B, T), padded behind."""
    ids = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.from_numpy(prompt.astype(np.int64))
        mask[row, : len(prompt)] = 1
    return ids, mask


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
