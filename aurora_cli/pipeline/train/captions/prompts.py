"""Samples of a run that captions are written of: which, up to where they are a prompt, and what ends an answer."""

import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from aurora_cli.checkpoints.locate import locate
from aurora_cli.config.settings import Settings
from aurora_cli.constants import IMAGE_PLACEHOLDER
from aurora_cli.data.batches.collator import TrainingSample
from aurora_cli.data.batches.selection import numbers_where
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.data.token_store.folder import TOKENIZER
from aurora_cli.data.token_store.labels import answer_spans
from aurora_cli.data.token_store.manifest import StoreManifest
from aurora_cli.data.token_store.schema import MANIFEST
from aurora_cli.data.tokenization.prompt import Prompter
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.errors import AuroraError

NEIGHBOURS = 4


class CaptionPrompt(NamedTuple):
    """One sample up to its first answer, which the model is to write."""

    sample: TrainingSample
    prompt: np.ndarray
    """int32, IMAGE_PLACEHOLDER for every frame."""
    answer: np.ndarray
    tokenizer: Tokenizer

    @property
    def reference(self) -> str:
        """The answer that the data have."""
        return self.tokenizer.decode(self.answer.tolist()).strip()


def choose_prompts(data: TrainingData, count: int) -> list[CaptionPrompt]:
    """Of samples spread evenly over the validation samples, or else over all.

    Of each and the three after it, the first that can be read and has an answer.
    """
    corpus = data.corpus
    is_taken = np.zeros(len(corpus.frames), bool)
    is_taken[corpus.validation if len(corpus.validation) else corpus.epoch(0)] = True
    is_taken &= corpus.frames > 0
    numbers = numbers_where(is_taken)
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
