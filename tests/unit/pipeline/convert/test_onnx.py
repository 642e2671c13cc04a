"""`aurora convert --format onnx`: tower and projector as a graph that merges by a fixed plan."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import aurora_cli
from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import HostError, UsageError
from aurora_cli.export import verify
from aurora_cli.io.atomic import read_json
from aurora_cli.pipeline.convert import command
from aurora_cli.pipeline.convert.command import run
from tests.captioners import MODEL, convert_settings, make_runs

MISSING = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}: pip install 'aurora-cli[onnx]'")


def test_the_ratio_is_refused_where_weights_are_written(tmp_path):
    make_runs(tmp_path)
    with pytest.raises(UsageError, match="--token-kept-ratio is of --format onnx alone: xtuner has weights"):
        run(convert_settings(tmp_path, token_kept_ratio=0.5))


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_what_is_not_installed_is_named_before_anything_is_opened(tmp_path, monkeypatch, missing):
    make_runs(tmp_path)
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(HostError, match=f"--format onnx needs {missing}, which is not installed") as caught:
        run(convert_settings(tmp_path, format="onnx"), dry_run=True)
    assert caught.value.hint == "pip install 'aurora-cli[onnx]'"


def test_a_graph_is_in_float32(tmp_path):
    make_runs(tmp_path)
    with pytest.raises(UsageError, match="--dtype bfloat16: a graph of --format onnx is in float32"):
        run(convert_settings(tmp_path, format="onnx", dtype="bfloat16"))


def outputs(folder: Path, pixels: torch.Tensor) -> torch.Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "vision.onnx", providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["visual_tokens"], {"pixel_values": pixels.numpy()})[0])


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("tower", ["clip_vision_model", "siglip_vision_model", "dinov2"])
def test_the_graph_gives_the_visual_tokens_of_any_number_of_frames(tmp_path, monkeypatch, tower):
    sizes = {"mlp_ratio": 2} if tower == "dinov2" else {}
    vision: Any = {**(MODEL.vision_config or {}), "model_type": tower, **sizes}
    model = MODEL.model_copy(update={"vision_config": vision, "image_size": 84})
    source = make_runs(tmp_path, model)
    monkeypatch.setattr(verify, "verify_in_child", verify.compare)
    result = run(convert_settings(tmp_path, format="onnx", token_kept_ratio=0.25))
    assert result.verified, result.notes
    assert [each.what for each in result.differences] == ["frames in onnxruntime, kept ratio 0.25"]
    assert result.differences[0].difference < 1e-5
    folder = Path(result.output)
    said = read_json(folder / "vision.json")
    assert (said["image_size"], said["patches"], said["tokens"], said["hidden_size"]) == (84, 36, 9, 32)
    assert said["merging"]["kept_ratio"] == 0.25
    assert any("the model was trained at 0.5" in note for note in result.notes)
    trained = aurora_cli.load_model(source, token_merging=TokenMerging(kept_ratio=0.25))
    for frames in (1, 2, 5):
        pixels = torch.randn(frames, 3, 84, 84, generator=torch.Generator().manual_seed(frames))
        with torch.no_grad():
            expected = trained.model.multi_modal_projector(trained.encode_images(pixels))
        assert expected.shape == (frames, 9, 32)
        torch.testing.assert_close(outputs(folder, pixels), expected, atol=1e-5, rtol=0)


@needs_onnx
@pytest.mark.slow
def test_the_ratio_is_that_of_training_unless_another_is_given_and_a_second_call_does_nothing(tmp_path):
    make_runs(tmp_path)
    settings = convert_settings(tmp_path, format="onnx", verify=False)
    result = run(settings)
    assert read_json(Path(result.output) / "vision.json")["tokens"] == 8
    assert not any("trained at" in note for note in result.notes)
    assert not run(settings).done
    other = convert_settings(tmp_path, format="onnx", verify=False, token_kept_ratio=0.25)
    assert run(other, dry_run=True).lines()[0].startswith("Would write")


@needs_onnx
@pytest.mark.slow
def test_a_graph_that_computes_something_else_is_not_verified(tmp_path, monkeypatch):
    make_runs(tmp_path)
    monkeypatch.setattr(verify, "verify_in_child", verify.compare)
    folder = Path(run(convert_settings(tmp_path, format="onnx", verify=False)).output)
    said = read_json(folder / "vision.json")
    (folder / "vision.json").write_text(json.dumps(said | {"merging": {**said["merging"], "kept_ratio": 0.25}}))
    (difference,) = verify.compare(verify.VerifyRequest(tmp_path / "runs/language", folder, "onnx", "float32"))
    assert not difference.holds


@needs_onnx
@pytest.mark.slow
def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch):
    make_runs(tmp_path)

    def fails(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the exporter's own")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(RuntimeError, match="the exporter's own"):
        run(convert_settings(tmp_path, format="onnx"))
    assert not (tmp_path / "export" / "onnx").exists()
    assert list((tmp_path / "export").iterdir()) == []
