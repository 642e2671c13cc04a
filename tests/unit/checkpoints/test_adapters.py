"""Low-rank adapters wherever they are found, against peft's own merging and against W + alpha / rank B A."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.errors import DataError
from aurora_cli.pipeline.convert.command import run
from tests.captioners import convert_settings, make_runs, weights

QUERY = "layers.0.self_attn.q_proj"
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A workspace with runs and an xtuner export of them."""
    root = tmp_path_factory.mktemp("workspace")
    make_runs(root)
    run(convert_settings(root, verify=False))
    return root


def read(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.read() for name, tensor in open_checkpoint(path).tensors.items()}


def factors(rank: int = 4, outputs: int = 32, inputs: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(rank, inputs, generator=generator), torch.randn(outputs, rank, generator=generator)


def write_adapter(folder: Path, tensors: dict[str, torch.Tensor], config: dict) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def pair(module: str, middle: str = "") -> dict[str, torch.Tensor]:
    down, up = factors()
    return {f"{module}.lora_A{middle}.weight": down, f"{module}.lora_B{middle}.weight": up}


def assert_adapted(found: dict[str, torch.Tensor], base: dict[str, torch.Tensor], name: str, scale: float) -> None:
    down, up = factors()
    # The factors come out of a file, aligned otherwise than those that were drawn: the product may round otherwise.
    torch.testing.assert_close(found.pop(name), base[name] + scale * (up @ down), atol=1e-5, rtol=1e-6)
    for other, tensor in found.items():
        assert torch.equal(tensor, base[other]), other


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers for it
@pytest.mark.parametrize("rslora", [False, True])
def test_a_folder_of_pefts_merges_as_peft_merges_it(made, tmp_path, rslora):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = made / "export" / "xtuner"
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        use_rslora=rslora,
        target_modules=["q_proj", "down_proj", "embed_tokens"],
        rank_pattern={"down_proj": 2},
        alpha_pattern={"layers.1.self_attn.q_proj": 3},
        modules_to_save=["lm_head"],
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.normal_()
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    expected = model.merge_and_unload().state_dict()
    settings = convert_settings(tmp_path, checkpoint=str(tmp_path / "adapter"), base=str(base), verify=False)
    found = weights(Path(run(settings).output))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, msg=name)


def test_a_run_with_adapters_gives_whole_weights(made, tmp_path):
    workspace = tmp_path / "w"
    shutil.copytree(made / "runs", workspace / "runs")
    before = read(workspace / "runs" / "language")
    folder = workspace / "runs/language/checkpoints/step-00000002"
    trained = load_file(folder / "model.safetensors") | pair(f"model.language_model.{QUERY}", ".default")
    save_file(trained, folder / "model.safetensors")
    description = json.loads((folder / "checkpoint.json").read_text())
    lora = {"language_model": {"rank": 4, "alpha": 8.0, "dropout": 0.0, "targets": ["q_proj"]}}
    (folder / "checkpoint.json").write_text(json.dumps(description | {"lora": lora}))
    assert_adapted(read(workspace / "runs" / "language"), before, f"language_model.model.{QUERY}.weight", 2.0)


def test_an_xtuner_folder_may_keep_its_adapters_beside_the_rest(made, tmp_path):
    folder = tmp_path / "xtuner"
    shutil.copytree(made / "export" / "xtuner", folder)
    before = read(folder)
    write_adapter(folder / "llm_adapter", pair(f"base_model.model.model.{QUERY}"), CONFIG)
    assert_adapted(read(folder), before, f"language_model.model.{QUERY}.weight", 2.0)
    before = read(folder)
    module = "vision_model.encoder.layers.1.self_attn.k_proj"
    write_adapter(folder / "visual_encoder_adapter", pair(f"base_model.model.{module}"), CONFIG)
    assert_adapted(read(folder), before, f"vision_tower.{module}.weight", 2.0)


def test_a_state_dict_with_adapters_needs_their_alpha_beside_it(made, tmp_path):
    name = f"llm.base_model.model.model.{QUERY}"
    torch.save({"state_dict": pair(name, ".default")}, tmp_path / "iter_9.pth")
    settings = convert_settings(
        tmp_path, checkpoint="iter_9.pth", base=str(made / "export" / "xtuner"), verify=False, output=Path("out")
    )
    with pytest.raises(DataError, match="does not say their alpha") as caught:
        run(settings)
    assert "adapter_config.json" in (caught.value.hint or "")
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    before = read(made / "export" / "xtuner")
    assert_adapted(read(Path(run(settings).output)), before, f"language_model.model.{QUERY}.weight", 2.0)


def no_half(tensors, config):
    tensors.popitem()
    return "lacks its other half"


def too_wide(tensors, config):
    name = next(iter(tensors))
    tensors[name] = torch.zeros(4, 33)
    return r"do not fit the weight of shape \(32, 32\)"


def elsewhere(tensors, config):
    tensors |= {re.sub("q_proj", "z_proj", name): tensor.clone() for name, tensor in tensors.items()}
    return "which the model has not"


def dora(tensors, config):
    config["use_dora"] = True
    return "use_dora cannot be merged"


def no_rank(tensors, config):
    del config["r"]
    return "lacks r or lora_alpha"


@pytest.mark.parametrize("damage", [no_half, too_wide, elsewhere, dora, no_rank])
def test_an_adapter_that_does_not_fit_is_named(made, tmp_path, damage):
    tensors, config = pair(f"base_model.model.model.{QUERY}"), dict(CONFIG)
    message = damage(tensors, config)
    config["base_model_name_or_path"] = str(made / "export" / "xtuner")
    folder = write_adapter(tmp_path / "adapter", tensors, config)
    with pytest.raises(DataError, match=message) as caught:
        open_checkpoint(folder)
    assert str(folder) in caught.value.message


def test_a_base_that_is_not_there_is_named_with_the_file_that_names_it(tmp_path):
    folder = write_adapter(
        tmp_path / "adapter",
        pair(f"base_model.model.model.{QUERY}"),
        CONFIG | {"base_model_name_or_path": "/gone/base"},
    )
    with pytest.raises(DataError, match=r"adapter: the base that its adapter_config\.json names: /gone/base") as caught:
        open_checkpoint(folder)
    assert "--base" in (caught.value.hint or "")
