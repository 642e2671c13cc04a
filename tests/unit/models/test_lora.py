"""Low-rank adapters around the layers that merging runs through: it touches weights by calling modules alone."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from aurora_cli.config.merging import TokenMerging
from tests.batches import batch, language_configs, packed

SLOWFAST = TokenMerging(kept_ratio=0.5, slowfast=True)
PARTS = ("vision_tower", "language_model")


def adapt(model: nn.Module) -> None:
    """Adapters around every linear layer of the tower and the language model, which already say something."""
    for part in PARTS:
        module = model.get_submodule(f"model.{part}")
        targets = sorted({name.rpartition(".")[2] for name, one in module.named_modules() if type(one) is nn.Linear})
        inject_adapter_in_model(LoraConfig(r=2, lora_alpha=3, target_modules=targets), module)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name or "multi_modal_projector" in name)
        if ".lora_B" in name:
            nn.init.normal_(parameter, std=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "smollm2", "qwen2"])
@pytest.mark.parametrize("tower", ["clip", "siglip", "dinov2"])
def test_gradients_reach_every_adapter_through_merging(tiny, configs, tower, family):
    model, inputs = tiny(getattr(configs, tower)(), language_configs(configs)[family], SLOWFAST), batch()
    adapt(model)
    model.train()
    gradients = []
    for recompute in (False, True):
        model.zero_grad()
        model.checkpoint_activations(recompute)
        model(**packed(model, inputs, SLOWFAST), always_encode=True).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    learning = {
        name
        for part in (*PARTS, "projector")
        for name, parameter in model.part_parameters(part).items()
        if parameter.requires_grad
    }
    layer, attention, out = (
        ("layer", "attention", "o_proj") if tower == "dinov2" else ("layers", "self_attn", "out_proj")
    )
    third = f"model.vision_tower.encoder.{layer}.2."
    assert {name.rpartition(".lora_")[0].removeprefix(third) for name in learning if third in name} == {
        *(f"{attention}.{linear}" for linear in ("k_proj", "v_proj", "q_proj", out)),
        "mlp.fc1",
        "mlp.fc2",
    }
    assert gradients[0].keys() == gradients[1].keys() == learning
    for name in learning:
        assert gradients[0][name].abs().sum() > 0, name
        torch.testing.assert_close(gradients[1][name], gradients[0][name], atol=1e-6, rtol=1e-5)


def test_adapters_compute_what_the_weights_with_them_merged_in_compute(tiny):
    model, inputs = tiny(merging=SLOWFAST), batch()
    plain = model(**inputs).logits
    adapt(model)
    adapted = model(**inputs).logits
    assert (adapted - plain).abs().max() > 1e-3
    for module in model.modules():
        if hasattr(module, "lora_A"):
            module.merge()
    torch.testing.assert_close(model(**inputs).logits, adapted, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_generating_with_adapters_is_the_greedy_choice_of_forward(tiny):
    model, inputs = tiny(merging=SLOWFAST), batch()
    adapt(model)
    del inputs["labels"]
    new = model.generate(**inputs, max_new_tokens=1, min_new_tokens=1, do_sample=False)
    logits, (_, rows) = model(**inputs).logits, model.prepare_inputs(**inputs)
    last = rows.attention_mask.sum(dim=1) - 1
    logits = logits[torch.arange(3), last]
    logits[:, 2] = -torch.inf  # the end, which min_new_tokens forbids
    assert logits.argmax(dim=-1).tolist() == new[:, 0].tolist()
