"""A LLaVA of others with a DINOv2 tower, whose table of positions is of another size than its images."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, Dinov2Config, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.export import verify
from aurora_cli.pipeline.convert.command import run
from tests.captioners import convert_settings

SIDE, TABLE = 56, 98
PIXELS = {
    "image_processor_type": "LlavaImageProcessor",
    "do_pad": True,
    "do_center_crop": False,
    "size": {"height": SIDE, "width": SIDE},
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As plain transformers saves it, every weight of the tower another than at its beginning."""
    folder = tmp_path_factory.mktemp("llava")
    torch.manual_seed(0)
    vision = Dinov2Config(
        hidden_size=16, mlp_ratio=2, num_hidden_layers=3, num_attention_heads=2, image_size=TABLE, patch_size=14
    )
    text = LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=63, image_seq_length=16)
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.model.vision_tower.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["huggingface", "xtuner", "official"])
def test_every_layout_computes_what_it_did(layout: str, llava: Path, tmp_path: Path) -> None:
    """By plain transformers too where the layout is its: there DINOv2 resizes its positions itself."""
    settings = convert_settings(tmp_path, checkpoint=str(llava), format=layout, verify=False)
    written = run(settings)
    export = Path(written.output)
    source = open_checkpoint(llava)
    assert (source.model.image_size, source.model.image_mean) == (SIDE, (0.485, 0.456, 0.406))
    compared = verify.compare(verify.VerifyRequest(llava, export, layout, "float32"))
    assert [each.what.endswith("plain transformers") for each in compared] == [layout == "huggingface", False]
    # Positions are resized by two products instead of torch's bicubic: 1.2e-7 was measured.
    assert all(each.difference < 1e-5 for each in compared)
    assert not any("trust_remote_code" in note for note in written.notes)
    assert any("CLIP" in note for note in written.notes) == (layout == "official")
    if layout == "xtuner":
        tower, info = AutoModel.from_pretrained(export / "visual_encoder", output_loading_info=True)
        assert not any(info.values()), info
        stored = {name: tensor.read() for name, tensor in source.tensors.items()}
        name = "encoder.layer.1.attention.output.dense.weight"
        assert torch.equal(tower.encoder.layer[1].attention.o_proj.weight, stored[f"vision_tower.{name}"])
