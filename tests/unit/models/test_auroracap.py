import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import DataError, SettingsError
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.models.layers import lm_head
from tests.batches import batch, language_configs, packed, qwen2, rows_of

HALF = TokenMerging(kept_ratio=0.5)
SLOWFAST = TokenMerging(kept_ratio=0.5, slowfast=True)


@pytest.mark.parametrize("case", ["batch2_pad_r0.5", "one_image_r0.5", "slowfast8_r0.5", "video8_r0.1"])
def test_the_model_gives_the_numbers_of_the_original(golden, golden_model, original, case):
    manifest, folder = golden.case("model", case)
    recorded = load_file(folder / "tensors.safetensors")
    merging = original(manifest["build"]["ratio"], manifest["build"].get("slowfast", False))
    inputs = {name: recorded[f"in.{name}"] for name in ("input_ids", "attention_mask", "labels")}
    inputs |= {"pixel_values": recorded["in.pixel_values"].flatten(0, 1), "merging": merging}

    embeds, rows = golden_model.prepare_inputs(**inputs)
    real = recorded["out0.attention_mask"]
    assert torch.equal(rows.attention_mask, real)
    assert torch.equal(rows.position_ids, recorded["out0.position_ids"])
    assert torch.equal(rows.labels, recorded["out0.labels"])
    torch.testing.assert_close(embeds[real], recorded["out0.inputs_embeds"][real], atol=1e-4, rtol=0)

    outputs = golden_model(**inputs)
    forward = manifest["forwards"][0]
    assert outputs.loss.item() == pytest.approx(forward["loss"], abs=1e-4)
    last = real[:, -24:]
    torch.testing.assert_close(outputs.logits[:, -24:][last], recorded["out0.logits_last24"][last], atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.logits.logsumexp(-1)[real], recorded["out0.logits_lse"][real], atol=1e-4, rtol=0)

    outputs.loss.backward()
    parameters = dict(golden_model.named_parameters())
    for part, gradients in forward["grads"].items():
        for name, norm in gradients["per_param"].items():
            # The original cuts the position embedding off after its first call of the tower, so that with slow-fast
            # (two calls) its gradient has only the first frames' part. Ours has all of it.
            if merging.slowfast and name.endswith("position_embedding.weight"):
                continue
            assert parameters[golden.name(part, name)].grad.norm().item() == pytest.approx(norm, abs=1e-4), name


@pytest.mark.parametrize("merging", [HALF, SLOWFAST], ids=["merged", "slow-fast"])
def test_a_batch_of_text_image_and_video_is_its_samples_one_by_one(tiny, merging):
    model, inputs = tiny(merging=merging), batch()
    outputs = model(**inputs)
    for row, sample in enumerate(rows_of(inputs)):
        alone = model(**sample).logits
        torch.testing.assert_close(outputs.logits[row, : alone.shape[1]], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("merging", [HALF, SLOWFAST], ids=["merged", "slow-fast"])
def test_a_pack_gives_the_loss_and_the_gradients_of_its_samples(tiny, configs, merging):
    texts = [configs.llama(), configs.llama(num_key_value_heads=2), qwen2()]
    for text in texts:
        model, inputs = tiny(text=text, merging=merging), batch()
        model(**inputs, num_items_in_batch=10).loss.backward()
        expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        loss = sum(model(**sample, num_items_in_batch=10).loss.item() for sample in rows_of(inputs))
        model.zero_grad()
        output = model(**packed(model, inputs, merging), num_items_in_batch=torch.tensor(10.0), always_encode=True)
        output.loss.backward()
        assert output.loss.item() == pytest.approx(loss, abs=1e-5)
        for name, gradient in expected.items():
            torch.testing.assert_close(model.get_parameter(name).grad, gradient, atol=1e-5, rtol=1e-4)


def test_attending_sample_by_sample_gives_what_transformers_own_packing_gives(tiny):
    model, inputs = tiny(), batch()
    arguments = packed(model, inputs, HALF, padding=0)
    losses = {}
    for implementation in ("aurora_sdpa", "sdpa", "eager"):
        model.model.language_model.config._attn_implementation = implementation
        losses[implementation] = model(**arguments).loss.item()
    assert losses["sdpa"] == pytest.approx(losses["aurora_sdpa"], abs=1e-6)
    assert losses["eager"] == pytest.approx(losses["aurora_sdpa"], abs=1e-6)


def test_the_loss_of_a_pack_never_holds_the_logits_of_all_its_positions(tiny, monkeypatch):
    model, inputs = tiny(), batch()
    seen = []
    linear = torch.nn.functional.linear
    monkeypatch.setattr(
        lm_head.F,
        "linear",
        lambda x, w, b=None: (seen.append(len(x)) if len(w) == 64 else None, linear(x, w, b))[1],
    )
    arguments = packed(model, inputs, HALF)
    targets = int((arguments["packed"].labels[:, 1:] != -100).sum())
    model(**arguments)
    assert seen == [targets]


@pytest.mark.slow
def test_checkpointing_does_not_lose_the_gradients_of_tower_and_projector_as_the_original_does(tiny, configs):
    """Its re-entrant checkpointing drops the gradients of nested outputs, without a word. Here every tensor learns."""
    for vision in (configs.clip(), configs.siglip(), configs.dinov2()):
        model, inputs = tiny(vision=vision), batch()
        model.train()
        gradients = []
        for recompute in (False, True):
            model.zero_grad()
            model.checkpoint_activations(recompute)
            model(**packed(model, inputs, SLOWFAST)).loss.backward()
            for part in ("vision_tower", "projector", "language_model"):
                for name, parameter in model.part_parameters(part).items():
                    assert parameter.grad is not None, name
                    if not name.endswith("k_proj.bias"):  # zero by mathematics: softmax cancels it
                        assert parameter.grad.abs().sum() > 0, name
            gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        named = {
            name for part in ("vision_tower", "projector", "language_model") for name in model.part_parameters(part)
        }
        assert gradients[0].keys() == named
        for name in named:
            torch.testing.assert_close(gradients[1][name], gradients[0][name], atol=1e-6, rtol=1e-5)


def test_a_frozen_language_model_still_passes_gradients_to_the_tower(tiny):
    model, inputs = tiny(), batch()
    model.train()
    model.checkpoint_activations()
    model.requires_grad_(False)
    for parameter in (model.part_parameters("vision_tower") | model.part_parameters("projector")).values():
        parameter.requires_grad_(True)
    model(**packed(model, inputs, HALF)).loss.backward()
    for name, parameter in model.part_parameters("vision_tower").items():
        assert parameter.grad is not None, name


def text_only(model: AuroraCap):
    inputs = batch()
    row = {name: inputs[name][:1] for name in ("input_ids", "attention_mask", "labels")}
    empty = {"pixel_values": torch.zeros(0, 3, 56, 56), "media_lengths": torch.zeros(0, dtype=torch.long)}
    arguments = packed(model, row | empty, HALF)
    return arguments | {"packed": arguments["packed"]._replace(pixel_values=None, media_lengths=None)}


def calls_of_tower(model: AuroraCap) -> list[int]:
    calls: list[int] = []
    model.model.vision_tower.encoder.layers[0].mlp.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_always_encode_runs_the_tower_once_for_each_kind_of_frame_whatever_the_batch_holds(tiny):
    model, inputs = tiny(), batch()
    calls = calls_of_tower(model)
    plain = text_only(model) | {"merging": SLOWFAST}
    model(**plain, always_encode=False)
    assert len(calls) == 0
    model(**plain, always_encode=True)
    assert len(calls) == 2
    model(**(plain | {"merging": HALF}), always_encode=True)
    assert len(calls) == 3
    image = {name: inputs[name][1:2] for name in ("input_ids", "attention_mask", "labels")}
    image |= {"pixel_values": inputs["pixel_values"][:1], "media_lengths": torch.tensor([1])}
    model(**packed(model, image, SLOWFAST), always_encode=True)
    assert len(calls) == 5
    model(**packed(model, inputs, SLOWFAST), always_encode=True)
    assert len(calls) == 7


def test_a_tower_that_ran_for_nothing_weighs_zero_even_where_it_overflows(tiny):
    model = tiny()
    arguments = text_only(model)
    expected = model(**arguments).loss
    output = model(**arguments, always_encode=True)
    output.loss.backward()
    assert torch.equal(output.loss, expected)
    for part in ("vision_tower", "projector"):
        for name, parameter in model.part_parameters(part).items():
            assert parameter.grad is not None, name
            assert torch.equal(parameter.grad, torch.zeros_like(parameter)), name
    with torch.no_grad():
        model.model.multi_modal_projector.linear_2.bias.fill_(torch.nan)
    assert torch.equal(model(**arguments, always_encode=True).loss, expected)


def test_a_pack_without_targets_has_loss_and_gradients_zero(tiny):
    model, inputs = tiny(), batch()
    inputs["labels"].fill_(-100)
    loss = model(**packed(model, inputs, HALF), num_items_in_batch=7).loss
    loss.backward()
    assert loss.item() == 0.0
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_calls_with_other_ratios_do_not_influence_each_other(tiny):
    model, inputs = tiny(merging=HALF), batch()
    first = model(**inputs).logits
    prompts = {name: inputs[name] for name in ("input_ids", "attention_mask", "pixel_values", "media_lengths")}
    for merging in (SLOWFAST, TokenMerging(kept_ratio=0.25), TokenMerging()):
        model(**inputs, merging=merging)
        model.generate(**prompts, merging=merging, max_new_tokens=2)
    assert torch.equal(model(**inputs).logits, first)
    assert torch.equal(model(**inputs, merging=SLOWFAST).logits, model(**inputs, merging=SLOWFAST).logits)


def test_encode_images_returns_what_the_projector_receives(tiny, configs):
    pixels = torch.randn(3, 3, 56, 56)
    for vision in (configs.clip(), configs.siglip(), configs.dinov2()):
        model = tiny(vision=vision, merging=HALF)
        features = model.encode_images(pixels)
        assert features.shape == (3, 8, 32)
        assert model.encode_images(pixels, merging=TokenMerging()).shape == (3, 16, 32)
        order = torch.tensor([2, 0, 1])
        # SigLIP's gelu rounds by index in the batch: 1.2e-6 was measured on AVX-512, of features up to 4.
        torch.testing.assert_close(model.encode_images(pixels[order]), features[order], atol=1e-5, rtol=0)
        assert model.encode_images(torch.randn(1, 3, 84, 28)).shape == (1, 6, 32)


@pytest.mark.parametrize("family", ["llama", "smollm2", "qwen2"])
@pytest.mark.parametrize("merging", [HALF, SLOWFAST], ids=["merged", "slow-fast"])
def test_generating_a_batch_is_generating_one_by_one(tiny, configs, family, merging):
    text = language_configs(configs)[family]
    model, inputs = tiny(text=text, merging=merging), batch()
    del inputs["labels"]
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    at_once = model.generate(**inputs, **options)
    assert at_once.shape == (3, 6)
    for row, sample in enumerate(rows_of(inputs | {"labels": inputs["input_ids"]})):
        del sample["labels"]
        assert model.generate(**sample, **options).tolist() == [at_once[row].tolist()]


def test_generating_is_the_greedy_choice_of_forward(tiny):
    model, inputs = tiny(merging=HALF), batch()
    sample = rows_of(inputs)[1]
    del sample["labels"]
    generated = model.generate(**sample, max_new_tokens=3, min_new_tokens=3, do_sample=False)[0]
    for step in range(3):
        ids = torch.cat([sample["input_ids"], generated[None, :step]], dim=1)
        logits = model(**(sample | {"input_ids": ids})).logits[0, -1]
        logits[2] = -torch.inf
        assert logits.argmax() == generated[step]


def test_placeholders_without_frames_name_the_sample(tiny):
    model, inputs = tiny(), batch()
    with pytest.raises(DataError, match="sample 2 has 5 placeholders"):
        model(**(inputs | {"media_lengths": [1, 1, 3]}))
    with pytest.raises(DataError, match="pixel_values has 5 frames"):
        model(**(inputs | {"pixel_values": inputs["pixel_values"][:5]}))
    arguments = packed(model, inputs, HALF)
    with pytest.raises(DataError, match=r"the rows have \[48\] positions .* 6 frames have 96 tokens"):
        model(**(arguments | {"merging": TokenMerging()}))
    with pytest.raises(SettingsError, match="layers keep at least"):
        model(**(inputs | {"merging": TokenMerging(kept_ratio=0.01)}))


class Captioner(AuroraCap):
    """Someone's subclass."""


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("tower", ["clip", "siglip", "dinov2"])
def test_saving_and_loading_misses_no_key_and_expects_no_other(tiny, configs, tmp_path, tower, tied):
    merging = TokenMerging(kept_ratio=0.25, slowfast=True)
    model = tiny(getattr(configs, tower)(), configs.llama(tie_word_embeddings=tied), merging)
    model.save_pretrained(tmp_path)
    on_disk = load_file(tmp_path / "model.safetensors")
    assert {name.split(".")[0] for name in on_disk} == {"language_model", "vision_tower", "multi_modal_projector"}
    assert "aurora" not in json.dumps(json.loads((tmp_path / "config.json").read_text()) | {"architectures": []})

    classes = [AuroraCap, LlavaForConditionalGeneration]
    for kind in classes:
        loaded, info = kind.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info.values()), info
        for name, tensor in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor), name
    again = AuroraCap.from_pretrained(tmp_path).eval()
    assert again.config.token_merging == merging
    inputs = batch()
    # The weights are the same; mapped from the file they are aligned otherwise than those in memory.
    torch.testing.assert_close(again(**inputs).logits, model(**inputs).logits, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_a_subclass_saves_and_loads_the_same_names(tiny, tmp_path):
    model = Captioner(tiny().config)
    model.save_pretrained(tmp_path)
    assert {"language_model.lm_head.weight", "language_model.model.norm.weight"} <= load_file(
        tmp_path / "model.safetensors"
    ).keys()
    loaded, info = Captioner.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


@pytest.mark.slow
@pytest.mark.parametrize("tower", ["clip", "siglip", "dinov2"])
@pytest.mark.parametrize("family", ["llama", "smollm2", "qwen2"])
def test_plain_llava_gives_the_same_logits_where_nothing_is_merged(tiny, configs, tmp_path, tower, family):
    model = tiny(getattr(configs, tower)(), language_configs(configs)[family])
    model.save_pretrained(tmp_path)
    plain, info = LlavaForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    pixels = torch.randn(1, 3, 56, 56)
    ids = torch.tensor([[1, 5, -200, 9, 8]])
    expanded = torch.tensor([[1, 5] + [63] * 16 + [9, 8]])
    plain.config.image_token_id = 63
    expected = plain.eval()(input_ids=expanded, pixel_values=pixels).logits
    torch.testing.assert_close(model(input_ids=ids, pixel_values=pixels).logits, expected, atol=1e-5, rtol=0)


def test_bfloat16_stays_near_float32(tiny):
    model, inputs = tiny(), batch()
    exact = model(**inputs)
    rough = model.bfloat16()(**inputs)
    assert rough.loss.item() == pytest.approx(exact.loss.item(), abs=0.02)
    assert (rough.logits.float() - exact.logits).abs().max() < 0.05


@pytest.mark.slow
def test_the_training_step_under_autocast_stays_near_float32(tiny):
    model, inputs = tiny(), batch()
    model.train()
    model.checkpoint_activations()
    arguments = packed(model, inputs, SLOWFAST)
    exact = model(**arguments).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(**arguments).loss
    rough.backward()
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), abs=0.02)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.part_parameters("vision_tower").values())


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # dynamo's own look
def test_the_encoder_can_be_compiled_in_place_under_every_call_of_the_model(tiny):
    model, inputs = tiny(merging=SLOWFAST), batch()
    expected = model(**inputs)
    model.model.vision_tower.encoder.compile(fullgraph=True, backend="eager")
    outputs = model(**inputs)
    torch.testing.assert_close(outputs.logits, expected.logits, atol=1e-5, rtol=0)
    outputs.loss.backward()
    assert all(p.grad is not None for p in model.part_parameters("vision_tower").values())
    torch._dynamo.reset()


def test_no_parameter_is_looked_at_but_by_the_module_that_has_it(tiny, monkeypatch):
    """Under ZeRO-3 a look is a gather: one that another rank does not make stops the run (text against images)."""
    model, inputs = tiny(), batch()
    running: list[torch.nn.Module] = []
    for module in model.modules():
        module.register_forward_pre_hook(lambda module, _: running.append(module))
        module.register_forward_hook(lambda *_: running.pop() and None)
    looked: list[str] = []
    lookup = torch.nn.Module.__getattr__

    def watched(self: torch.nn.Module, name: str):
        found = lookup(self, name)
        if isinstance(found, torch.nn.Parameter) and self not in running:
            looked.append(f"{type(self).__name__}.{name}")
        return found

    arguments = [packed(model, inputs, SLOWFAST), text_only(model) | {"merging": SLOWFAST}]
    monkeypatch.setattr(torch.nn.Module, "__getattr__", watched)
    for one in arguments:
        model(**one, always_encode=True)
    assert looked == []


def test_a_new_projector_starts_as_pytorchs_linear_layers_do(tiny):
    """Uniform between -1 and 1 over the root of the inputs; the deviation of that is its bound over the root of 3."""
    projector = tiny().model.multi_modal_projector
    for layer in (projector.linear_1, projector.linear_2):
        bound = layer.in_features**-0.5
        assert layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert 0 < layer.bias.abs().max() <= bound
