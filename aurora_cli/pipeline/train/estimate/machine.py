"""What the machine has and does: memory, and arithmetic where nobody can know it beforehand."""

import functools
import time

from aurora_cli.io.machine import memory_bytes

GPU_FLOPS_PER_S = 2e14
"""An H100 in bf16 reaches 2e14 to 5e14 in training."""
MEASURED_S = 1.0
REACHED = 0.5
"""Of what multiplying alone reaches, about so much is reached in training: what lies between moves memory."""


def device_memory(*, cuda: bool) -> int | None:
    """Bytes of one GPU, if it can be asked; without one those of the machine, or of its container if that has less."""
    if cuda:
        import torch

        return torch.cuda.get_device_properties(0).total_memory if torch.cuda.device_count() else None
    return memory_bytes()


@functools.cache
def flops_per_s(width: int, *, cuda: bool) -> float:
    """FLOP/s that a process is taken to reach: as usual on a GPU; on a CPU by a second of multiplying in fp32."""
    if cuda:
        return GPU_FLOPS_PER_S
    import torch

    rows, matrix = torch.ones(1024, width), torch.ones(width, 4 * width)
    torch.matmul(rows, matrix)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < MEASURED_S:
        torch.matmul(rows, matrix)
        done += 1
    return REACHED * done * 2 * 1024 * width * 4 * width / (time.perf_counter() - began)
