"""`load_model`: the original's released layout and training state give the original's numbers; damage is named."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import aurora_cli
from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.checkpoint import OpenOptions
from aurora_cli.checkpoints.layouts import open_parts
from aurora_cli.checkpoints.loading import build_model
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import ModelSettings
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.atomic import read_json
from tests.captioners import GOLDEN, MERGING, WEIGHTS, make_runs, weights

STATE_DICT = WEIGHTS / "aurora_state_dict.safetensors"
CASES = {
    "one_image_r0.5": (0.5, False),
    "batch2_pad_r0.5": (0.5, False),
    "video8_r0.1": (0.1, False),
    "slowfast8_r0.5": (0.5, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("path", [WEIGHTS, STATE_DICT], ids=["xtuner", "state_dict"])
def test_golden_weights_give_the_golden_logits(case, path):
    ratio, slowfast = CASES[case]
    merging = TokenMerging(kept_ratio=ratio, schedule="constant", proportional_attention=False, slowfast=slowfast)
    model = aurora_cli.load_model(path, token_merging=merging)
    golden = load_file(GOLDEN / "model" / case / "tensors.safetensors")
    with torch.no_grad():
        out = model(
            input_ids=golden["in.input_ids"],
            attention_mask=golden["in.attention_mask"],
            pixel_values=golden["in.pixel_values"].flatten(0, 1),
            labels=golden["in.labels"],
        )
    seen = golden["out0.attention_mask"].bool()
    torch.testing.assert_close(out.logits.logsumexp(-1)[seen], golden["out0.logits_lse"][seen], atol=1e-4, rtol=0)
    loss = read_json(GOLDEN / "model" / case / "manifest.json")["forwards"][0]["loss"]
    assert float(out.loss) == pytest.approx(loss, abs=1e-4)


def test_weights_that_say_nothing_merge_as_the_original_does_and_it_is_said():
    checkpoint = open_checkpoint(WEIGHTS)
    assert checkpoint.kind == "xtuner"
    assert checkpoint.merging == TokenMerging(kept_ratio=1.0, schedule="constant", proportional_attention=False)
    assert "schedule constant, no proportional attention" in checkpoint.notes[0]


def test_a_pth_of_the_original_takes_its_frozen_parts_from_the_base(tmp_path):
    state = load_file(STATE_DICT)
    trained = {name: tensor + 1 for name, tensor in state.items() if name.startswith("projector.")}
    torch.save({"state_dict": trained, "meta": {"iter": 3}}, tmp_path / "iter_3.pth")
    checkpoint = open_checkpoint(tmp_path / "iter_3.pth", OpenOptions(base=str(WEIGHTS)))
    checkpoint.check()
    projector, embedding = "multi_modal_projector.linear_1.bias", names.EMBEDDING
    assert torch.equal(checkpoint.tensors[projector].read(), state["projector.model.0.bias"] + 1)
    assert torch.equal(checkpoint.tensors[embedding].read(), state["llm.model.embed_tokens.weight"])
    with pytest.raises(DataError, match="holds only a part of a model") as caught:
        open_checkpoint(tmp_path / "iter_3.pth")
    assert "--base" in (caught.value.hint or "")


def test_a_pth_of_the_original_takes_its_frozen_parts_from_the_presets_models(tmp_path):
    state = load_file(STATE_DICT)
    trained = {name: tensor + 1 for name, tensor in state.items() if name.startswith("projector.")}
    torch.save({"state_dict": trained, "meta": {"iter": 3}}, tmp_path / "iter_3.pth")
    preset = ModelSettings(vision_tower="models/tower", language_model="models/llm", image_size=84)
    shutil.copytree(WEIGHTS / "visual_encoder", tmp_path / "models" / "tower")
    shutil.copytree(WEIGHTS / "llm", tmp_path / "models" / "llm")
    checkpoint = open_checkpoint(tmp_path / "iter_3.pth", OpenOptions(root=tmp_path, model=preset))
    checkpoint.check()
    whole = open_checkpoint(WEIGHTS)
    assert checkpoint.tensors.keys() == whole.tensors.keys()
    for name, tensor in whole.tensors.items():
        added = 1 if names.part_of(name) == "projector" else 0
        assert torch.equal(checkpoint.tensors[name].read(), tensor.read() + added), name
    assert checkpoint.merging == TokenMerging(kept_ratio=1.0, schedule="constant", proportional_attention=False)


@pytest.mark.slow
def test_a_run_is_its_newest_checkpoint_over_the_chain_that_it_started_from(tmp_path):
    run = make_runs(tmp_path)
    initial = weights(tmp_path / "runs" / "projection" / "initial")
    checkpoint = open_checkpoint(run)
    checkpoint.check()
    read = {name: tensor.read() for name, tensor in checkpoint.tensors.items()}
    factors = {
        "multi_modal_projector.linear_1.weight": 2.0,
        "vision_tower.vision_model.embeddings.class_embedding": 3.0,
        names.HEAD: 0.5,
    }
    assert read.keys() == initial.keys()
    for name, tensor in initial.items():
        assert torch.equal(read[name], tensor * factors.get(name, 1.0))
    assert [stage.stage for stage in checkpoint.history] == ["projection", "language"]
    assert checkpoint.merging == MERGING
    assert checkpoint.prompting is not None
    assert checkpoint.prompting.template == "vicuna"
    model = aurora_cli.load_model(run)
    assert model.config.token_merging == MERGING
    assert not model.training
    images = model.encode_images(torch.zeros(2, 3, 56, 56))
    assert images.shape == (2, 8, 32)  # 16 patches, half of them kept


@pytest.mark.slow
def test_the_dtype_and_merging_of_the_caller_are_taken(tmp_path):
    run = make_runs(tmp_path)
    merging = TokenMerging(kept_ratio=0.25)
    model = aurora_cli.load_model(run, token_merging=merging, dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    assert model.config.token_merging == merging
    with pytest.raises(UsageError, match="int3"):
        aurora_cli.load_model(run, dtype="int3")


def test_a_missing_base_is_named(tmp_path):
    run = make_runs(tmp_path)
    shutil.rmtree(tmp_path / "runs" / "projection")
    with pytest.raises(DataError, match=r"runs/projection/checkpoints/step-00000002, which is not there"):
        open_checkpoint(run)


def test_a_chain_that_runs_in_a_circle_is_an_error(tmp_path):
    run = make_runs(tmp_path)
    description = run.parent / "projection" / "checkpoints" / "step-00000002" / "checkpoint.json"
    values = json.loads(description.read_text()) | {"base": "runs/language/checkpoints/step-00000002"}
    description.write_text(json.dumps(values))
    with pytest.raises(DataError, match="circle"):
        open_checkpoint(run)


def golden_copy(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(WEIGHTS, folder, ignore=shutil.ignore_patterns("aurora_*"))
    return folder


def change(file, edit):
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)


def test_a_missing_weight_an_unexpected_one_and_a_wrong_shape_are_named(tmp_path):
    folder = golden_copy(tmp_path)
    file = folder / "visual_encoder" / "model.safetensors"
    change(file, lambda tensors: tensors.pop("vision_model.post_layernorm.bias"))
    with pytest.raises(DataError, match=r"lacks tensor vision_tower.vision_model.post_layernorm.bias"):
        aurora_cli.load_model(folder)
    change(file, lambda tensors: tensors.update({"vision_model.post_layernorm.bias": torch.zeros(3)}))
    with pytest.raises(
        DataError, match=r"visual_encoder/model.safetensors: .*post_layernorm.bias has shape \(3,\).*64"
    ):
        aurora_cli.load_model(folder)
    change(
        file, lambda tensors: tensors.update({"vision_model.post_layernorm.bias": torch.zeros(64), "x": torch.ones(1)})
    )
    with pytest.raises(DataError, match=r"holds tensor x, which the model has not"):
        aurora_cli.load_model(folder)


def test_a_weight_that_is_not_a_number_is_named(tmp_path):
    folder = golden_copy(tmp_path)
    change(folder / "llm" / "model.safetensors", lambda tensors: tensors["model.norm.weight"].fill_(float("nan")))
    with pytest.raises(DataError, match=r"llm/model.safetensors: tensor model.norm.weight holds NaN"):
        aurora_cli.load_model(folder)


def test_what_is_no_checkpoint_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match="no such folder or file"):
        aurora_cli.load_model(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is not a checkpoint"):
        aurora_cli.load_model(tmp_path / "empty")


def test_parts_without_a_projector_get_a_new_one_and_nothing_else_may_lack():
    settings = ModelSettings(image_size=84)
    parts = open_parts(str(WEIGHTS / "visual_encoder"), str(WEIGHTS / "llm"), settings, None)
    with pytest.raises(DataError, match="lacks tensors multi_modal_projector"):
        build_model(parts)
    model = build_model(parts, fresh=frozenset({"projector"}))
    projector = model.model.multi_modal_projector.linear_1.weight
    assert 0.01 < float(projector.detach().std()) < 0.2  # uniform within 1/8: PyTorch's own for 64 inputs
    embedding = load_file(WEIGHTS / "llm" / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(model.get_input_embeddings().weight, embedding)
