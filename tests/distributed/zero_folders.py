"""A process of two: trains a small captioner under DeepSpeed and lets DeepSpeed itself save. `zero_folders.py ROOT`.

ROOT/initial            where all start
ROOT/<stage>-zero<N>    DeepSpeed's folder
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from aurora_cli.checkpoints.loading import load_model
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.models.parts import Part

STAGES: dict[str, tuple[Part, ...]] = {
    "projection": ("projector",),
    "vision": ("projector", "vision_tower"),
    "language": ("projector", "vision_tower", "language_model"),
}
ZERO_STAGES = (2, 3)
STEPS = 2
SAMPLES = 4
CLIP = 1.0
LEARNING = {"lr": 1e-2, "eps": 1e-2, "weight_decay": 0.0}
"""Where a gradient is near zero, Adam without such an `eps` takes the sign of its rounding for a step."""


def prepared(root: Path, stage: str) -> AuroraCap:
    """The network with what the stage trains."""
    model = load_model(root / "initial").train()
    model.requires_grad_(False)
    for part in STAGES[stage]:
        for parameter in model.part_parameters(part).values():
            parameter.requires_grad_(True)
    return model


def batch(step: int, rank: int, ranks: int) -> dict[str, Any]:
    """This rank's share of a step's samples: an image each, and as many taught tokens."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(10, 600, (SAMPLES, 8), generator=generator)
    ids[:, 1] = -200
    pixels = torch.randn(SAMPLES, 3, 56, 56, generator=generator)
    mine = slice(rank * SAMPLES // ranks, (rank + 1) * SAMPLES // ranks)
    labels = ids.masked_fill(ids == -200, -100)
    return {"input_ids": ids[mine], "pixel_values": pixels[mine], "labels": labels[mine]}


def train_alone(root: Path, stage: str) -> dict[str, torch.Tensor]:
    """The same steps in one process with torch's AdamW: the weights that learn."""
    model = prepared(root, stage)
    learning = {name: one for name, one in model.named_parameters() if one.requires_grad}
    optimizer = torch.optim.AdamW(learning.values(), **LEARNING)
    for step in range(STEPS):
        model(**batch(step, 0, 1)).loss.backward()
        torch.nn.utils.clip_grad_norm_(learning.values(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
    return {name: one.detach() for name, one in learning.items()}


def _train_and_save(root: Path, stage: str, zero: int, rank: int) -> None:
    import deepspeed

    model = prepared(root, stage)
    learning = [one for one in model.parameters() if one.requires_grad]
    config = {
        "train_micro_batch_size_per_gpu": SAMPLES // 2,
        "train_batch_size": SAMPLES,
        "gradient_clipping": CLIP,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {"stage": zero},
    }
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=torch.optim.AdamW(learning, **LEARNING), config=config, model_parameters=learning
    )
    for step in range(STEPS):
        engine.backward(engine(**batch(step, rank, 2)).loss)
        engine.step()
    engine.save_checkpoint(str(root / f"{stage}-zero{zero}"))
    engine.destroy()


def main() -> None:
    import deepspeed
    from deepspeed.accelerator import cpu_accelerator, set_accelerator

    set_accelerator(cpu_accelerator.CPU_Accelerator())
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # it would be compiled
    root, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    torch.set_num_threads(1)
    deepspeed.init_distributed("gloo")
    for stage in STAGES:
        for zero in ZERO_STAGES:
            _train_and_save(root, stage, zero, rank)
    torch.distributed.barrier()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads abort about every second exit


if __name__ == "__main__":
    main()
