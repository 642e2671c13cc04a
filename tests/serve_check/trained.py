"""Small captioners that are trained for real: they know what they say, so that the likeliest token is seldom as likely
as the next, and equal ids of two programs mean that both computed it.

An image has four quarters of one colour each, a video four frames; the caption is the four colours, in reading order.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import aurora_cli
from aurora_cli.captioning.captioner import Captioner
from aurora_cli.checkpoints import names
from aurora_cli.constants import IGNORE_INDEX
from aurora_cli.data.media.transforms import normalise
from aurora_cli.demo.drawing import COLOURS, SIDE
from aurora_cli.models.merge_plan import WHOLE

STEPS = 150
BATCH = 16
FRAMES = 4
RATE = 3e-3
TRAINED_ON, HELD_OUT = 1, 2
"""Seeds."""


class Scene(NamedTuple):
    """What is drawn: of an image the colours of its quarters, of a video those of its frames."""

    colours: tuple[str, ...]
    frames: int

    @property
    def caption(self) -> str:
        return f"{' '.join(self.colours)}."

    def drawn(self, random: np.random.Generator) -> list[np.ndarray]:
        """(H, W, 3) of uint8 of each frame, with a little noise."""
        levels = [np.full((SIDE, SIDE, 3), COLOURS[colour], np.int64) for colour in self.colours]
        if self.frames == 1:
            half = SIDE // 2
            upper, lower = (
                np.concatenate([one[:half, :half], other[:half, :half]], 1) for one, other in (levels[:2], levels[2:])
            )
            levels = [np.concatenate([upper, lower])]
        return [(each + random.integers(-20, 21, each.shape)).clip(0, 255).astype(np.uint8) for each in levels]


def scenes(seed: int, frames: Sequence[int] = (1, FRAMES)) -> Iterator[tuple[Scene, list[np.ndarray]]]:
    """Images and videos in turn, and their frames."""
    random = np.random.default_rng(seed)
    while True:
        for count in frames:
            scene = Scene(tuple(random.choice([*COLOURS], FRAMES).tolist()), count)
            yield scene, scene.drawn(random)


def held_out(count: int, frames: int) -> list[list[np.ndarray]]:
    """Images (one frame) or videos that nothing was trained on."""
    return [drawn for _, drawn in itertools.islice(scenes(HELD_OUT, [frames]), count)]


def train(folder: Path, question: str, steps: int = STEPS) -> None:
    """Teach the captioner of random weights in `folder`. Its weights are rounded to halves, which any layout holds."""
    torch.manual_seed(0)
    captioner = aurora_cli.load_captioner(folder, token_merging=WHOLE, device="cpu", dtype="float32")
    model = captioner.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    seen = scenes(TRAINED_ON)
    for _ in range(steps):
        loss = _loss(captioner, [*itertools.islice(seen, BATCH)], question)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    file = folder / "model.safetensors"
    learnt = {names.canonical(name): tensor for name, tensor in model.state_dict().items()}
    save_file({name: learnt[name].half().float() for name in load_file(file)}, file)


def _loss(captioner: Captioner, batch: Sequence[tuple[Scene, list[np.ndarray]]], question: str) -> Tensor:
    settings, prompter = captioner.image_settings, captioner.prompter
    rows: list[list[int]] = []
    labels: list[list[int]] = []
    for scene, drawn in batch:
        prompt = prompter.ids(question, len(drawn))
        answer = [*captioner.tokenizer.encode(scene.caption), prompter.end_id]
        rows.append(prompt + answer)
        labels.append([IGNORE_INDEX] * len(prompt) + answer)
    pixels = torch.from_numpy(np.stack([frame for _, drawn in batch for frame in drawn]))
    return captioner.model(
        input_ids=_padded(rows, 0),
        attention_mask=_padded([[1] * len(row) for row in rows], 0),
        pixel_values=normalise(pixels, settings.image_mean, settings.image_std),
        media_lengths=[len(drawn) for _, drawn in batch],
        labels=_padded(labels, IGNORE_INDEX),
        merging=WHOLE,
    ).loss


def _padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])
