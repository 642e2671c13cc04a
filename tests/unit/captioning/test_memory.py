"""The most memory that was held counts anew after a reset."""

import numpy as np
import pytest
import torch

from aurora_cli.captioning.memory import peak_memory_mb, reset_peak_memory

CPU = torch.device("cpu")
MB = 300


def test_a_peak_is_seen_and_forgotten() -> None:
    reset_peak_memory(CPU)
    before = peak_memory_mb(CPU)
    held = np.ones(MB << 20, np.uint8)
    del held
    peak = peak_memory_mb(CPU)
    assert peak > before + 0.9 * MB
    reset_peak_memory(CPU)
    if peak_memory_mb(CPU) == peak:
        pytest.skip("this system does not let a process reset its peak")
    assert peak_memory_mb(CPU) < before + 0.5 * MB
