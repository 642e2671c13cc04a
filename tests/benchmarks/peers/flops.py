"""Runs aurora's command line and prints, last, the FLOPs of its products: of matrices, and of attention, half where a
token does not see what is behind it. Arguments: those of `aurora`."""

import json
import sys
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from aurora_cli.cli.app import main


def added(total: Any, left: Any, right: Any, **_: Any) -> int:
    """Of a product that is added to what is there; of shapes, as the next."""
    return 2 * left[0] * left[1] * right[1]


def attention(query: Any, key: Any, value: Any, dropout: float = 0.0, causal: bool = False, **_: Any) -> int:
    """Of torch's operator for CPUs."""
    return sdpa_flop_count(query, key, value) // (2 if causal else 1)


def backward(
    gradient: Any, query: Any, key: Any, value: Any, out: Any, sums: Any, dropout: float, causal: bool, **_: Any
) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value) // (2 if causal else 1)


UNCOUNTED = {
    torch.ops.aten.addmm_: added,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
}
"""Operators that torch's counter does not know."""


def run() -> int:
    """FLOPs of aurora's command line, by this process's arguments."""
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                raise
    return counter.get_total_flops()


if __name__ == "__main__":
    print(json.dumps({"flops": run()}))
    sys.stdout.flush()
