"""Do the two files compute what their source does, with nothing merged?

The language model is read back by transformers' reader of GGUF. Where llama-cpp-python is installed, an image and a
video of two frames go through llama.cpp: the prompt's ids are those of training, and the logits behind it are near.
"""

import gc
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.facts import LogitComparison
from aurora_cli.checkpoints.loading import build_model
from aurora_cli.data.media.transforms import normalise
from aurora_cli.data.tokenization.prompt import Prompter
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.errors import DataError
from aurora_cli.export.from_gguf import open_gguf
from aurora_cli.export.llama_cpp.chat import rendered
from aurora_cli.export.llama_cpp.quantize import is_bound
from aurora_cli.export.llama_cpp.running import Answer, LlamaCpp
from aurora_cli.models.merge_plan import WHOLE

BOUNDS = {"f16": 2e-2, "q8_0": 1e-1, "q4_k_m": 2.0}
"""Largest difference of two logits, as a share of the largest, by the quantization; that of 4 bits is shown alone."""
UNPROVED = (
    "unproved by llama.cpp: llama-cpp-python is not installed here; with it (pip install llama-cpp-python) the same "
    "command proves what is there"
)
QUESTION = "What is  shown here?"
MEDIA = {"an image": 1, "a video": 2}
"""What is asked about, and its frames."""
_TEXT = tuple(range(3, 19))


class Probe(NamedTuple):
    """A prompt with its frames, and what the source makes of it."""

    what: str
    ids: list[int]
    frames_FSSC: np.ndarray
    logits: torch.Tensor


def compare(source: OpenedCheckpoint, folder: Path, tokenizer: Path, template: str) -> list[LogitComparison]:
    """
    Raises:
        DataError: the files cannot be loaded, or ask with other ids than training.
    """
    file = next(folder.glob("model-*.gguf"))
    bound = BOUNDS[file.stem.removeprefix("model-")]
    text, probes = _by_source(source, tokenizer, template)
    read = _by_transformers(file)
    compared = [] if read is None else [_compared("a text, by transformers' reader of GGUF", text, read, bound)]
    if not is_bound():
        return compared
    with LlamaCpp(file, folder / "mmproj-f16.gguf") as llama:
        for each in probes:
            answer = llama.answer(rendered(file, QUESTION, len(each.frames_FSSC)), [*each.frames_FSSC], 1)
            _check_ids(file, each, answer)
            found = torch.from_numpy(answer.logits)
            compared.append(_compared(f"{each.what}, nothing merged, by llama.cpp", each.logits, found, bound))
    return compared


def _by_source(source: OpenedCheckpoint, tokenizer: Path, template: str) -> tuple[torch.Tensor, list[Probe]]:
    model: Any = build_model(source)
    prompter = Prompter(load_tokenizer(tokenizer), template)
    settings = source.model
    probes = []
    with torch.no_grad():
        text = model(input_ids=torch.tensor([_TEXT]), merging=WHOLE).logits[0, -1]
        for what, frames in MEDIA.items():
            shape = (frames, settings.image_size, settings.image_size, 3)
            levels = np.random.default_rng(frames).integers(0, 256, shape, dtype=np.uint8)
            ids = prompter.ids(QUESTION, frames)
            pixels = normalise(torch.from_numpy(levels), settings.image_mean, settings.image_std)
            logits = model(
                input_ids=torch.tensor([ids]), pixel_values=pixels, media_lengths=[frames], merging=WHOLE
            ).logits
            probes.append(Probe(what, ids, levels, logits[0, -1]))
    del model
    gc.collect()
    return text, probes


def _by_transformers(file: Path) -> torch.Tensor | None:
    """None: it cannot read this kind, as Qwen3 with heads of a size of their own (5.24)."""
    try:
        opened = open_gguf(file)
    except DataError:
        return None
    with torch.no_grad():
        return opened.model.eval()(input_ids=torch.tensor([_TEXT])).logits[0, -1]


def _check_ids(file: Path, probe: Probe, answer: Answer) -> None:
    if answer.prompt != probe.ids:
        pairs = enumerate(zip(probe.ids, answer.prompt, strict=False))
        at = next((at for at, pair in pairs if pair[0] != pair[1]), min(len(probe.ids), len(answer.prompt)))
        raise DataError(
            f"{file}: {probe.what}, the prompt: id {at} is {answer.prompt[at : at + 1]} in llama.cpp, and was "
            f"{probe.ids[at : at + 1]} in training"
        )


def _compared(what: str, expected: torch.Tensor, found: torch.Tensor, bound: float) -> LogitComparison:
    rows = min(len(expected), len(found))  # rows that no token has are not in the file
    difference = float((expected[:rows] - found[:rows]).abs().max())
    return LogitComparison(what, difference, bound * max(1.0, float(expected[:rows].abs().max())))
