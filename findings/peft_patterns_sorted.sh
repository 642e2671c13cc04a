#!/usr/bin/env bash
# peft 0.21.2, torch 2.13.0, CPython 3.11 (2026-11-28).
#
# An adapter that was saved and loaded again can be scaled otherwise than it was trained, without a word. Of the patterns
# in alpha_pattern (and rank_pattern) the first that matches a module counts, in the order of the dict. save_pretrained
# writes adapter_config.json with its keys sorted, so that loading finds them in another order: where two patterns match
# one module, another one counts. With ranks that fails while loading, by the shapes; with alphas nothing is said.
#
# Seen, where lora_alpha is 8 and r 4: {"q_proj": 4, "layers.0.q_proj": 32} scales both layers by 1 in training; written as
# {"layers.0.q_proj": 32, "q_proj": 4} and loaded, it scales the first layer by 8.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6 peft==0.21.2 transformers==5.24.0
cd "$folder"
"$folder/env/bin/python" - <<'END'
import json

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.ModuleDict({"q_proj": nn.Linear(8, 8)}) for _ in range(2)])

    def forward(self, x):
        for layer in self.layers:
            x = layer["q_proj"](x)
        return x


def scales(model):
    return [layer["q_proj"].scaling["default"] for layer in model.base_model.model.layers]


patterns = {"q_proj": 4, "layers.0.q_proj": 32}  # the first matches everywhere: 4 / 4 in both layers
model = get_peft_model(Net(), LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], alpha_pattern=patterns))
with torch.no_grad():
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.normal_()
x = torch.randn(1, 8)
trained, before = model(x), scales(model)
model.save_pretrained("adapter")
print("written:", json.load(open("adapter/adapter_config.json"))["alpha_pattern"])
loaded = PeftModel.from_pretrained(Net(), "adapter")
after = scales(loaded)
print(f"scales of the two layers: {before} in training, {after} after loading")
print(f"outputs differ by {float((loaded(x) - trained).detach().abs().max()):.3g}")
assert before == [1.0, 1.0], "changed: another pattern counts in training"
assert after == [8.0, 1.0], "changed: patterns keep their order"
END
