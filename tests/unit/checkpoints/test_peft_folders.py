"""Folders that peft writes over a LLaVA, beside the adapted model itself: the same logits, or refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlavaConfig, LlavaForConditionalGeneration

from aurora_cli.checkpoints.checkpoint import OpenOptions
from aurora_cli.checkpoints.loading import build_model
from aurora_cli.checkpoints.opening import adapter_base, open_checkpoint
from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import DataError
from aurora_cli.export.adapted import adapted_by_peft
from aurora_cli.export.verify import VerifyRequest, compare
from aurora_cli.pipeline.convert.command import run
from tests.captioners import convert_settings

peft = pytest.importorskip("peft", reason="peft writes the folders that are read here")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("imports_done"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:Model with `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`"),
    pytest.mark.filterwarnings("ignore:PiSSA changes the base weights"),
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys"),
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys"),
]

IMAGE_ID, ROWS = 95, 96
QUERY = "layers.0.self_attn.q_proj"
HEAD, EMBEDDING = "lm_head", "embed_tokens"
LogitsOf = Callable[..., torch.Tensor]


def save_llava(folder: Path, *, tied: bool) -> Path:
    vision = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3}
    vision |= {"num_attention_heads": 4, "image_size": 28, "patch_size": 14}
    text = {"model_type": "llama", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 4, "pad_token_id": 0, "tie_word_embeddings": tied}
    config = LlavaConfig.from_dict({"vision_config": vision, "text_config": text, "image_token_index": IMAGE_ID})
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():  # far from symmetric: whatever is mixed up shows
            weight.add_(torch.randn_like(weight) * (0.15 if weight.dim() > 1 else 0.1))
            assert name
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[bool, Path]:
    """By whether embedding and head are tied."""
    root = tmp_path_factory.mktemp("bases")
    return {tied: save_llava(root / f"tied-{tied}", tied=tied) for tied in (False, True)}


def adapter(base: Path, folder: Path, **options: Any) -> Any:
    """A model with adapters that all change something, saved to `folder`."""
    model = peft.get_peft_model(
        LlavaForConditionalGeneration.from_pretrained(base), peft.LoraConfig(r=4, lora_alpha=8, **options)
    )
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name or weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(folder)
    return model.eval()


def logits_of(model: Any) -> torch.Tensor:
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[1, *([model.config.image_token_id] * 4), 11, 7, 30, 45, 8]])
    with torch.no_grad():
        return model(input_ids=ids, pixel_values=pixels).logits[0, -5:, :ROWS]


def our_logits_of(folder: Path, base: str | None = None) -> torch.Tensor:
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    model = build_model(open_checkpoint(folder, OpenOptions(base=base)))
    with torch.no_grad():
        ids = torch.tensor([[1, -200, 11, 7, 30, 45, 8]])
        return model(input_ids=ids, pixel_values=pixels, merging=TokenMerging(kept_ratio=1.0)).logits[0, -5:, :ROWS]


@pytest.mark.parametrize(
    "pattern",
    [
        QUERY,
        f"language_model.{QUERY}",
        f"model.language_model.{QUERY}",
        f"^model.language_model.{QUERY}",
        f"^{QUERY}",  # of no module: the defaults stand
        r"layers.\d.self_attn.q_proj",
        f"vision_tower.encoder.{QUERY}",
        "k_proj|v_proj",
    ],
)
def test_patterns_name_modules_as_they_are_in_memory(bases, tmp_path, pattern):
    options = {"rank_pattern": {pattern: 2}, "alpha_pattern": {pattern: 16}}
    adapted = adapter(bases[False], tmp_path, target_modules=r".*(q_proj|v_proj)", **options)
    torch.testing.assert_close(our_logits_of(tmp_path), logits_of(adapted), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "orthogonal"},
        {"init_lora_weights": "mica"},
        {"init_lora_weights": False},
        {"use_rslora": True, "rank_pattern": {QUERY: 2}},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"modules_to_save": ["multi_modal_projector", "norm"]},
        {"modules_to_save": [HEAD, EMBEDDING]},
        {"layers_to_transform": [1], "layers_pattern": "layers"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*use_rslora:UserWarning")
def test_what_peft_offers_merges_as_it_computes(bases, tmp_path, options):
    adapted = adapter(bases[False], tmp_path, target_modules=["q_proj", "fc1"], **options)
    torch.testing.assert_close(our_logits_of(tmp_path), logits_of(adapted), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj"], "modules_to_save": [HEAD]},
        {"target_modules": ["q_proj"], "modules_to_save": [EMBEDDING]},
        {"target_modules": ["q_proj"], "modules_to_save": [EMBEDDING, HEAD]},
        {"target_modules": [HEAD]},
        {"target_modules": [EMBEDDING]},
        {"target_modules": [EMBEDDING, HEAD]},
    ],
    ids=str,
)
def test_embedding_and_head_that_were_tied_part_where_one_was_trained(bases, tmp_path, options):
    """As the adapted model has them. peft's own merge adds what the embedding learned to the head as well."""
    adapted = adapter(bases[True], tmp_path / "adapter", **options)
    expected = logits_of(adapted)
    torch.testing.assert_close(our_logits_of(tmp_path / "adapter"), expected, atol=2e-5, rtol=1e-5)
    for layout in ("huggingface", "xtuner", "official"):
        output = tmp_path / layout
        settings = convert_settings(
            tmp_path, checkpoint=str(tmp_path / "adapter"), output=output, format=layout, verify=False
        )
        run(settings)
        torch.testing.assert_close(our_logits_of(output), expected, atol=2e-5, rtol=1e-5, msg=layout)
    plain = LlavaForConditionalGeneration.from_pretrained(tmp_path / "huggingface").eval()
    torch.testing.assert_close(logits_of(plain), expected, atol=2e-5, rtol=1e-5)


def test_an_adapter_that_leaves_both_alone_leaves_them_tied(bases, tmp_path):
    adapted = adapter(bases[True], tmp_path, target_modules=["q_proj"])
    opened = open_checkpoint(tmp_path)
    assert opened.config.tie_word_embeddings
    assert "language_model.lm_head.weight" not in opened.tensors
    torch.testing.assert_close(our_logits_of(tmp_path), logits_of(adapted), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("stored", ["embedding", "head", "both", "both, the head another"])
def test_tied_weights_are_read_as_transformers_reads_them(bases, tmp_path, stored):
    config = json.loads((bases[True] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = load_file(bases[True] / "model.safetensors")
    name = next(name for name in tensors if name.endswith("embed_tokens.weight"))
    embedding = tensors.pop(name)
    if stored != "head":
        tensors[name] = embedding
    if stored != "embedding":
        tensors["language_model.lm_head.weight"] = embedding + 0.5 if "another" in stored else embedding.clone()
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    plain = LlavaForConditionalGeneration.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(our_logits_of(tmp_path), logits_of(plain), atol=2e-5, rtol=1e-5)
    opened = open_checkpoint(tmp_path)
    assert bool(opened.config.tie_word_embeddings) == ("another" not in stored)
    assert any("tie_word_embeddings" in note for note in opened.notes) == ("another" in stored)


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora"])
def test_adapters_that_changed_their_base_are_refused(bases, tmp_path, init):
    adapter(bases[False], tmp_path, target_modules=["q_proj"], init_lora_weights=init)
    with pytest.raises(DataError, match=f"init_lora_weights '{init}'") as caught:
        open_checkpoint(tmp_path)
    assert "merge_and_unload" in str(caught.value.hint)
    assert "path_initial_model_for_weight_conversion" in str(caught.value.hint)


def test_one_that_was_saved_beside_the_plain_base_merges(bases, tmp_path):
    """peft's remedy: of twice the rank, with the beginning subtracted."""
    options = {"target_modules": ["q_proj"], "init_lora_weights": "pissa"}
    model = peft.get_peft_model(
        LlavaForConditionalGeneration.from_pretrained(bases[False]), peft.LoraConfig(r=4, lora_alpha=8, **options)
    )
    model.peft_config["default"].init_lora_weights = True  # what is saved first is not the base's change
    model.save_pretrained(tmp_path / "first")
    model.peft_config["default"].init_lora_weights = "pissa"
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.add_(torch.randn_like(weight) * 0.1)
    expected = logits_of(model.eval())
    model.save_pretrained(tmp_path / "after", path_initial_model_for_weight_conversion=str(tmp_path / "first"))
    torch.testing.assert_close(our_logits_of(tmp_path / "after"), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("init_lora_weights", "corda"),
        ("init_lora_weights", "lora_ga"),
        ("init_lora_weights", "loftq"),
        ("init_lora_weights", "something new"),
        ("use_dora", True),
        ("lora_bias", True),
        ("fan_in_fan_out", True),
        ("trainable_token_indices", [3]),
        ("target_parameters", ["experts.gate_up_proj"]),
        ("layer_replication", [[0, 1], [0, 2]]),
        ("ensure_weight_tying", True),
        ("kasa_config", {"beta": 1.0}),
        ("peft_type", "IA3"),
    ],
)
def test_what_is_no_sum_on_the_base_is_refused_with_the_remedy(bases, tmp_path, key, value):
    adapter(bases[False], tmp_path, target_modules=["q_proj"])
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(DataError, match=key) as caught:
        open_checkpoint(tmp_path)
    assert "merge_and_unload" in str(caught.value.hint)


def test_two_patterns_for_one_module_that_say_two_alphas_are_refused(bases, tmp_path):
    """peft saves patterns sorted by their text, and the first one counts: which was first in training is lost."""
    options = {"target_modules": ["q_proj"], "alpha_pattern": {"q_proj": 8, f"language_model.{QUERY}": 8}}
    adapter(bases[False], tmp_path, **options)
    build_model(open_checkpoint(tmp_path))  # both say the same
    file = tmp_path / "adapter_config.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps(written | {"alpha_pattern": {"q_proj": 8, f"language_model.{QUERY}": 16}}))
    with pytest.raises(DataError, match=r"alpha_pattern.*q_proj.*8.*16"):
        build_model(open_checkpoint(tmp_path))


@pytest.mark.parametrize(
    ("patterns", "said"),
    [({QUERY: 3}, "of rank 4; adapter_config.json says 3"), ({"layers.(0": 2}, "no regular expression")],
)
def test_a_pattern_that_cannot_be_is_named(bases, tmp_path, patterns, said):
    adapter(bases[False], tmp_path, target_modules=["q_proj"])
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rank_pattern": patterns}))
    with pytest.raises(DataError, match=said):
        build_model(open_checkpoint(tmp_path))


def by_peft(folder: Path) -> torch.Tensor | None:
    model = adapted_by_peft(adapter_base(folder, OpenOptions()), folder)
    if model is None:
        return None
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[1, -200, 11, 7, 30, 45, 8]])
    with torch.no_grad():
        return model(input_ids=ids, pixel_values=pixels, merging=TokenMerging(kept_ratio=1.0)).logits[0, -5:, :ROWS]


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "fc1"], "modules_to_save": ["multi_modal_projector"], "bias": "all"},
        {"target_modules": ["q_proj"], "alpha_pattern": {f"^model.language_model.{QUERY}": 16}},
        {"target_modules": [EMBEDDING]},
        {"target_modules": ["q_proj"], "modules_to_save": [HEAD]},
    ],
    ids=str,
)
def test_verifying_asks_the_adapted_model_itself(bases, tmp_path, options):
    adapted = adapter(bases[True], tmp_path, **options)
    found = by_peft(tmp_path)
    assert found is not None
    torch.testing.assert_close(found, logits_of(adapted), atol=2e-5, rtol=1e-5)


def test_an_adapter_of_the_language_model_alone_is_asked_in_its_own_class(bases, tmp_path):
    whole = LlavaForConditionalGeneration.from_pretrained(bases[False])
    language = AutoModelForCausalLM.from_config(whole.config.text_config)
    language.model, language.lm_head = whole.model.language_model, whole.lm_head
    options = {"target_modules": ["q_proj"], "modules_to_save": [HEAD], "alpha_pattern": {f"^model.{QUERY}": 16}}
    model = peft.get_peft_model(language, peft.LoraConfig(r=4, lora_alpha=8, **options))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                weight.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(bases[False])}))
    whole.lm_head = language.lm_head
    torch.testing.assert_close(our_logits_of(tmp_path), logits_of(whole.eval()), atol=2e-5, rtol=1e-5)
    found = by_peft(tmp_path)
    assert found is not None
    torch.testing.assert_close(found, logits_of(whole), atol=2e-5, rtol=1e-5)


def test_verifying_a_wrong_merge_is_seen_and_a_right_one_is_said(bases, tmp_path, monkeypatch):
    adapter(bases[False], tmp_path / "adapter", target_modules=["q_proj"], alpha_pattern={QUERY: 16})
    request = VerifyRequest(tmp_path / "adapter", tmp_path / "out", "xtuner", "float32")
    run(convert_settings(tmp_path, checkpoint=str(tmp_path / "adapter"), output=request.export, verify=False))
    right = compare(request)[-1]
    assert right.what == "an image, the adapter by peft"
    assert right.holds
    monkeypatch.setattr("aurora_cli.checkpoints.adapters.peft_config.module_of", lambda _: "elsewhere")
    assert not compare(request)[-1].holds


def test_without_peft_there_is_nothing_to_compare_with(bases, tmp_path, monkeypatch):
    adapter(bases[False], tmp_path, target_modules=["q_proj"])
    monkeypatch.setattr("aurora_cli.export.adapted.find_spec", lambda _: None)
    assert by_peft(tmp_path) is None
