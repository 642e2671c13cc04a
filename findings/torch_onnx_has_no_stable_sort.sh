#!/usr/bin/env bash
# torch 2.13.0 (CPU build), onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0, CPython 3.11, x86-64 (2026-11-28).
#
# torch.onnx.export(dynamo=True) refuses `argsort(stable=True)`: "No ONNX function found for <OpOverload(op='aten.sort',
# overload='stable')>", though torch.export takes it, and though the plain `sort` that it does translate comes out stable:
# ONNX's TopK puts, of equal values, the one of the lower index first. A line in `custom_translation_table` mends it:
# TopK of all values, and onnxruntime gives torch's own indices on values that are nearly all equal.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'END'
import logging

import onnxruntime
import torch
from onnxscript import opset18

logging.getLogger("torch.onnx").setLevel(logging.ERROR)


class Sorts(torch.nn.Module):
    def forward(self, values):
        return values.argsort(dim=-1, descending=True, stable=True)


def stable_sort(values, stable=True, dim=-1, descending=False):
    return opset18.TopK(values, opset18.Shape(values, start=-1), axis=dim, largest=int(descending), sorted=1)


torch.manual_seed(0)
values = torch.randint(0, 3, (4, 500)).float()
torch.export.export(Sorts(), (values,))
try:
    torch.onnx.export(Sorts(), (values,), dynamo=True, verbose=False)
except Exception as error:
    assert "aten.sort" in str(error), error
    print("refused: aten.sort.stable")
else:
    raise SystemExit("changed: the exporter takes a stable sort")
table = {torch.ops.aten.sort.stable: stable_sort}
torch.onnx.export(Sorts(), (values,), dynamo=True, verbose=False, custom_translation_table=table).save("sorts.onnx")
session = onnxruntime.InferenceSession("sorts.onnx", providers=["CPUExecutionProvider"])
(found,) = session.run(None, {session.get_inputs()[0].name: values.numpy()})
assert torch.equal(torch.from_numpy(found), Sorts()(values)), "changed: TopK is not stable"
print("by TopK: the same indices, of 3 different values in 500")
END
