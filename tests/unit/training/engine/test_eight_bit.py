"""AdamW's moments in 8 bits: resumed exactly, refused where they cannot be, named where they are missing."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from aurora_cli.config.settings import Settings
from aurora_cli.errors import HostError, UsageError
from aurora_cli.pipeline.train import command as train
from aurora_cli.training import quantized
from aurora_cli.training.engine import eight_bit
from tests.distributed.tiny_workspace import make, settings

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed: pip install 'aurora-cli[quantized]'"
)


@needs_bitsandbytes
def test_moments_come_out_and_go_back_in_as_they_were() -> None:
    """Before and after, the same steps and scales, bit for bit; and the next update is the same."""
    torch.manual_seed(0)
    large, small = nn.Parameter(torch.randn(100, 77)), nn.Parameter(torch.randn(50))
    gradients = [(torch.randn(100, 77) ** 3, torch.randn(50)) for _ in range(4)]

    def stepped(optimizer: torch.optim.Optimizer, parameters: tuple[nn.Parameter, ...], which: Any) -> None:
        for parameter, gradient in zip(parameters, which, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()

    first = eight_bit.adamw_8bit([{"params": [large, small], "lr": 1e-2, "weight_decay": 0.0}], (0.9, 0.999))
    for which in gradients[:3]:
        stepped(first, (large, small), which)
    saved = [eight_bit.read_moments("p", p, first.state[p]) for p in (large, small)]
    assert [len(one.scales) for one in saved] == [2, 0]
    others = (nn.Parameter(large.detach().clone()), nn.Parameter(small.detach().clone()))
    second = eight_bit.adamw_8bit([{"params": list(others), "lr": 1e-2, "weight_decay": 0.0}], (0.9, 0.999))
    for parameter, one in zip(others, saved, strict=True):
        eight_bit.write_moments(second, parameter, one, 3)
    for before, after in zip((large, small), others, strict=True):
        for key in ("state1", "state2", "absmax1", "absmax2"):
            if key in first.state[before]:
                assert torch.equal(first.state[before][key], second.state[after][key]), key
    stepped(first, (large, small), gradients[3])
    stepped(second, others, gradients[3])
    assert torch.equal(large, others[0])
    assert torch.equal(small, others[1])


@needs_bitsandbytes
@pytest.mark.slow
def test_a_run_learns_and_goes_on_exactly(tmp_path: Path) -> None:
    make(tmp_path, images=12, videos=4, texts=4)

    def run(folder: str, **changes: Any) -> list[float]:
        how = {"after": None, "optimizer": "adamw_8bit", "run_dir": folder, "max_steps": 6, **changes}
        chosen = settings(tmp_path, "language", **how)
        # wide enough for moments in 8 bits
        tree = chosen.model_dump(mode="json")
        tree["model"]["text_config"] |= {"hidden_size": 72, "intermediate_size": 96}
        train.run(Settings.model_validate(tree))
        return [json.loads(line)["loss"] for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines()]

    whole = run("runs/whole")
    assert whole[-1] < whole[0]
    newest = tmp_path / "runs/whole/checkpoints/step-00000004"
    assert (newest / "resume/scales.safetensors").is_file()
    again = run("runs/whole", resume=str(newest))
    assert again == whole


def test_deepspeed_is_refused_and_a_missing_package_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(tmp_path, "language", after=None, optimizer="adamw_8bit", deepspeed="zero2")
    with pytest.raises(UsageError, match="cannot be sharded by DeepSpeed") as refused:
        train.run(chosen)
    assert refused.value.exit_code == 2
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(HostError, match="needs bitsandbytes") as missing:
        train.run(settings(tmp_path, "language", after=None, optimizer="adamw_8bit"))
    assert missing.value.exit_code == 4
    assert "aurora-cli[quantized]" in str(missing.value.hint)
