"""An export of a tower whose images had another size in training: read by who resizes no positions, and the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

import aurora_cli
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.config.settings import ConvertSettings, ModelSettings, Settings
from aurora_cli.export import verify
from aurora_cli.io.atomic import read_json
from aurora_cli.pipeline.convert.command import run
from tests.captioners import MODEL, make_runs, weights

POSITIONS = "vision_tower.vision_model.embeddings.position_embedding.weight"
TOWERS = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}


def model_of(tower: str, side: int) -> ModelSettings:
    """Of a tower that was made for 56 px, 4 x 4 patches."""
    vision: Any = MODEL.vision_config
    return MODEL.model_copy(
        update={"image_size": side, "vision_config": {**vision, "model_type": TOWERS[tower], "image_size": 56}}
    )


def convert(workspace: Path, model: ModelSettings, **given: Any) -> Any:
    return run(Settings(workspace=workspace, model=model, convert=ConvertSettings(format="huggingface", **given)))


@pytest.mark.slow
@pytest.mark.parametrize(("tower", "side"), [("clip", 112), ("clip", 28), ("siglip", 112)])
def test_plain_transformers_reads_images_of_trainings_size_and_computes_the_same(tower, side, tmp_path, monkeypatch):
    model = model_of(tower, side)
    source = make_runs(tmp_path, model)
    monkeypatch.setattr(verify, "verify_in_child", verify.compare)
    result = convert(tmp_path, model)
    assert result.verified, result.notes
    assert [each.what for each in result.differences] == [
        "an image, nothing merged, plain transformers",
        "a video, kept ratio 0.5",
    ]
    assert all(each.difference < 1e-5 for each in result.differences)
    assert any(f"written for {side} px" in note for note in result.notes)
    folder = Path(result.output)
    config = read_json(folder / "config.json")
    assert config["vision_config"]["image_size"] == config["image_size"] == side
    assert config["image_seq_length"] == (side // 14) ** 2

    # PyTorch's own bicubic over the 4 x 4 patches, with the tenth of a patch that the original adds.
    class_tokens, count = int(tower == "clip"), side // 14
    table = load_file(tmp_path / "runs/projection/initial/model.safetensors")[POSITIONS]
    grid = table[class_tokens:].T.reshape(1, 32, 4, 4)
    resized = F.interpolate(grid, scale_factor=(count + 0.1) / 4, mode="bicubic")[0, :, :count, :count]
    expected = torch.cat([table[:class_tokens], resized.flatten(1).T])
    torch.testing.assert_close(weights(folder)[POSITIONS], expected, atol=1e-6, rtol=0)

    # Opened again it is the same model, and converted again the same files.
    again = convert(tmp_path, model, checkpoint=str(folder), output=tmp_path / "again", verify=False)
    assert not any("written for" in note for note in again.notes)
    for name, tensor in weights(folder).items():
        assert torch.equal(weights(tmp_path / "again")[name], tensor), name
    assert open_checkpoint(folder).model.image_size == side
    inputs = {
        "input_ids": torch.tensor([[1, -200, 5, 6]]),
        "pixel_values": torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)),
    }
    for path in (folder, tmp_path / "again"):
        loaded, trained = aurora_cli.load_model(path), aurora_cli.load_model(source)
        both = [each(**inputs).logits[..., :671] for each in (loaded, trained)]
        torch.testing.assert_close(both[0], both[1], atol=1e-5, rtol=0)
        for logits in both:  # and who goes on to train from it begins with the same gradients
            logits.square().mean().backward()
        name = "model.vision_tower.embeddings.patch_embedding.weight"
        gradients = [each.get_parameter(name).grad for each in (loaded, trained)]
        assert gradients[1].abs().max() > 1e-6
        torch.testing.assert_close(*gradients, atol=1e-7, rtol=1e-3)


@pytest.mark.slow
def test_a_narrower_type_rounds_positions_after_they_are_resized(tmp_path):
    model = model_of("clip", 112)
    make_runs(tmp_path, model)
    wide = Path(convert(tmp_path, model, verify=False).output)
    narrow = Path(convert(tmp_path, model, verify=False, dtype="bfloat16", output=tmp_path / "narrow").output)
    assert torch.equal(weights(narrow)[POSITIONS], weights(wide)[POSITIONS].bfloat16())


@pytest.mark.slow
def test_a_tower_of_trainings_size_is_written_as_it_is(tmp_path):
    source = make_runs(tmp_path)
    result = convert(tmp_path, MODEL, verify=False)
    assert not any("written for" in note for note in result.notes)
    stored = open_checkpoint(source).tensors[POSITIONS].read()
    assert torch.equal(weights(Path(result.output))[POSITIONS], stored)
