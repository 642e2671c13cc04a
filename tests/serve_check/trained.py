"""Small captioners that are trained for real, on what the demo draws: they know what they say, so that the likeliest
token is seldom as likely as the next, and equal ids of two programs mean that both computed it.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import aurora_cli
from aurora_cli.captioning.captioner import Captioner
from aurora_cli.checkpoints import names
from aurora_cli.constants import IGNORE_INDEX
from aurora_cli.data.media.transforms import normalise
from aurora_cli.demo.drawing import Scene, draw, image_scene, video_scene
from aurora_cli.models.merge_plan import WHOLE

STEPS = 400
BATCH = 16
RATE = 2e-3
TRAINED_ON, HELD_OUT = 1, 2
"""Seeds."""


def scenes(seed: int) -> Iterator[Scene]:
    """An image and a video in turn."""
    rng = random.Random(seed)
    while True:
        yield image_scene(rng)
        yield video_scene(rng)


def drawn(scene: Scene, frames: int) -> list[np.ndarray]:
    """(H, W, 3) of uint8 of each frame."""
    return [np.asarray(frame) for frame in draw(scene, frames)]


def held_out(count: int, frames: int) -> list[list[np.ndarray]]:
    """Images (one frame) or videos that nothing was trained on."""
    wanted = (scene for scene in scenes(HELD_OUT) if (scene.motion is None) == (frames == 1))
    return [drawn(next(wanted), frames) for _ in range(count)]


def train(folder: Path, question: str, frames: int, steps: int = STEPS) -> None:
    """Teach the captioner of random weights in `folder`. Its weights are rounded to halves, which any layout holds."""
    torch.manual_seed(0)
    captioner = aurora_cli.load_captioner(folder, token_merging=WHOLE, device="cpu", dtype="float32")
    model = captioner.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    seen = scenes(TRAINED_ON)
    for _ in range(steps):
        loss = _loss(captioner, [next(seen) for _ in range(BATCH)], question, frames)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    file = folder / "model.safetensors"
    learnt = {names.canonical(name): tensor for name, tensor in model.state_dict().items()}
    save_file({name: learnt[name].half().float() for name in load_file(file)}, file)


def _loss(captioner: Captioner, batch: Sequence[Scene], question: str, frames: int) -> Tensor:
    settings, prompter = captioner.image_settings, captioner.prompter
    rows: list[list[int]] = []
    labels: list[list[int]] = []
    shown: list[list[np.ndarray]] = []
    for scene in batch:
        shown.append(drawn(scene, frames))
        prompt = prompter.ids(question, len(shown[-1]))
        answer = [*captioner.tokenizer.encode(scene.caption), prompter.end_id]
        rows.append(prompt + answer)
        labels.append([IGNORE_INDEX] * len(prompt) + answer)
    pixels = torch.from_numpy(np.stack([frame for each in shown for frame in each]))
    return captioner.model(
        input_ids=_padded(rows, 0),
        attention_mask=_padded([[1] * len(row) for row in rows], 0),
        pixel_values=normalise(pixels, settings.image_mean, settings.image_std),
        media_lengths=[len(each) for each in shown],
        labels=_padded(labels, IGNORE_INDEX),
        merging=WHOLE,
    ).loss


def _padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])
