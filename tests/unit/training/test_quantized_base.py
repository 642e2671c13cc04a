"""A base in 4 or 8 bits: what is learned on it, kept, resumed, merged; and where it is refused."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from aurora_cli.checkpoints.loading import load_model
from aurora_cli.config.settings import Settings
from aurora_cli.errors import HostError, UsageError
from aurora_cli.models.assign import assign_whole
from aurora_cli.models.layers.quantized import Bits, QuantizedLinear, dequantized, kept_bytes, pack
from aurora_cli.pipeline.convert import command as convert
from aurora_cli.pipeline.train import command as train
from aurora_cli.pipeline.train.build_model import build_network
from aurora_cli.pipeline.train.plan import plan_stage
from aurora_cli.training import quantized
from tests.distributed.tiny_workspace import make, settings

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed: pip install 'aurora-cli[quantized]'"
)
EACH: tuple[Bits, ...] = ("nf4", "int8")


def quantized_run(root: Path, folder: str, bits: str, **changes: Any) -> Settings:
    how = {"after": None, "quantize_base": bits, "lora": {"language_model": {"rank": 4}}, "run_dir": folder}
    return settings(root, "language", **{**how, "vision_tower": None, "max_steps": 6, **changes})


def losses(root: Path, folder: str) -> list[float]:
    return [json.loads(line)["loss"] for line in (root / folder / "metrics.jsonl").read_text().splitlines()]


@needs_bitsandbytes
@pytest.mark.parametrize("bits", EACH)
def test_a_layer_is_a_plain_one_of_the_weights_that_its_codes_stand_for(bits: Bits) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(70, 50)
    layer = QuantizedLinear(plain, pack(plain.weight, bits), bits)
    scales: Any = layer.scales
    assert layer.weight.numel() + 4 * scales.numel() == kept_bytes(3500, bits)
    with torch.no_grad():
        plain.weight.copy_(dequantized(plain.weight, bits))
    inputs = [torch.randn(3, 70, requires_grad=True)]
    inputs.append(inputs[0].detach().clone().requires_grad_())
    outputs = [one(x) for one, x in zip((layer, plain), inputs, strict=True)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


@needs_bitsandbytes
@pytest.mark.slow
@pytest.mark.parametrize("bits", EACH)
def test_it_learns_keeps_what_it_learned_alone_goes_on_exactly_and_merges_into_what_it_computed_with(
    bits: Bits, tmp_path: Path
) -> None:
    make(tmp_path, images=12, videos=4, texts=4)
    chosen = quantized_run(tmp_path, "runs/q", bits)
    train.run(chosen)
    whole = losses(tmp_path, "runs/q")
    assert whole[-1] < whole[0]

    checkpoints = tmp_path / "runs/q/checkpoints"
    with safe_open(checkpoints / "step-00000006/model.safetensors", framework="pt") as file:
        kept = list(file.keys())
    assert all(".lora_" in name or "multi_modal_projector" in name for name in kept)

    train.run(quantized_run(tmp_path, "runs/q", bits, resume=str(checkpoints / "step-00000004")))
    assert losses(tmp_path, "runs/q") == whole

    # the network of the run itself, its base in few bits, against the merged one that everybody else opens
    again = quantized_run(tmp_path, "runs/q", bits, max_steps=8)
    running = build_network(plan_stage(again), assign_whole).model.eval()
    merged = load_model(tmp_path / "runs/q")
    ids = torch.arange(20)[None] + 5
    with torch.no_grad():
        expected, told = (model(input_ids=ids).logits for model in (running, merged))
    torch.testing.assert_close(told, expected, rtol=1e-4, atol=1e-4)
    weight = "model.language_model.layers.0.mlp.up_proj"
    base = load_model(tmp_path / "runs/q/initial").get_submodule(weight).weight
    adapter: Any = running.get_submodule(weight)
    added = adapter.get_delta_weight("default")
    found = merged.get_submodule(weight).weight
    torch.testing.assert_close(found, dequantized(base, bits) + added, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(found, base + added, rtol=1e-5, atol=1e-6)

    exported = convert.run(
        Settings.model_validate(
            again.model_dump(mode="json")
            | {"convert": {"checkpoint": "runs/q", "output": "export/q", "format": "huggingface"}}
        )
    )
    assert exported.exit_code == 0
    with torch.no_grad():
        # an export has the tokenizer's padding rows beside
        torch.testing.assert_close(load_model(tmp_path / "export/q")(input_ids=ids).logits[..., :671], told)


def test_what_cannot_be_is_refused_and_a_missing_package_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="freezes the language model's layers"):
        train.run(quantized_run(tmp_path, "runs/q", "nf4", lora={}))
    with pytest.raises(UsageError, match="cannot be sharded by DeepSpeed"):
        train.run(quantized_run(tmp_path, "runs/q", "nf4", deepspeed="zero3"))
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(HostError, match="needs bitsandbytes") as missing:
        train.run(quantized_run(tmp_path, "runs/q", "nf4"))
    assert (missing.value.exit_code, missing.value.hint) == (4, "pip install 'aurora-cli[quantized]'")
