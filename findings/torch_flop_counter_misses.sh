#!/usr/bin/env bash
# torch 2.13.0 on a CPU, CPython 3.11 (2026-11-29).
#
# torch's own FlopCounterMode, by which peers' FLOPs and utilization are often measured, knows no product that is added in
# place, and no attention by the kernel that a CPU takes: they count 0, without a word.
#   - a @ b, addmm and baddbmm: 2 FLOPs for each number of each product; addmm_ and baddbmm_: 0;
#   - scaled_dot_product_attention and its gradients: 0; the same call by way of SDPBackend.MATH: 3,145,728.
# A `custom_mapping` of the missing operators makes it right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/env/bin/python" - <<'END'
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def flops(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def attention():
    """4 heads of 64 tokens of 16 channels, and the gradients."""
    F.scaled_dot_product_attention(x, x, x).sum().backward()


a, b, total = torch.randn(8, 16), torch.randn(16, 32), torch.zeros(8, 32)
many = (torch.zeros(2, 8, 32), a.expand(2, 8, 16), b.expand(2, 16, 32))
x = torch.randn(1, 4, 64, 16, requires_grad=True)
found = {
    "a @ b": flops(lambda: a @ b),
    "addmm": flops(lambda: torch.addmm(total, a, b)),
    "addmm_": flops(lambda: total.addmm_(a, b)),
    "baddbmm": flops(lambda: torch.baddbmm(*many)),
    "baddbmm_": flops(lambda: many[0].baddbmm_(*many[1:])),
    "attention, a CPU's kernel": flops(attention),
}
with sdpa_kernel(SDPBackend.MATH):
    found["attention, SDPBackend.MATH"] = flops(attention)
for name, count in found.items():
    print(f"{name}: {count:,}")
one = 2 * 8 * 16 * 32
assert found["a @ b"] == found["addmm"] == one and found["baddbmm"] == 2 * one
assert found["addmm_"] == found["baddbmm_"] == 0, "changed: what is added in place is counted"
assert found["attention, a CPU's kernel"] == 0, "changed: a CPU's attention is counted"
assert found["attention, SDPBackend.MATH"] == 6 * 2 * 4 * 64 * 64 * 16  # 2 products forward, 4 backward
END
