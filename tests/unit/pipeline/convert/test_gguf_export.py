"""`aurora convert --format gguf`: the files hold the captioner, and llama.cpp captions with them as aurora does.

They are written by the package `gguf`; where it, or llama-cpp-python, is not installed, what needs it skips itself.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.cli.app import run as aurora
from aurora_cli.errors import HostError, UsageError
from aurora_cli.export.from_gguf import open_gguf
from aurora_cli.export.llama_cpp import quantize
from aurora_cli.export.llama_cpp.language_model import interleaved
from aurora_cli.pipeline.convert.command import run
from tests.captioners import convert_settings, make_runs

gguf: Any = pytest.importorskip("gguf", reason="writes and reads the files")


def export(workspace: Path, quantization: Any = None) -> Path:
    result = run(convert_settings(workspace, format="gguf", verify=False, quantization=quantization))
    assert (result.done, result.exit_code) == (True, 0)
    return Path(result.output)


def read(file: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    reader = gguf.GGUFReader(file)
    keys = {name: field.contents() for name, field in reader.fields.items()}
    return keys, {each.name: gguf.dequantize(each.data, each.tensor_type) for each in reader.tensors}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    make_runs(folder)
    return folder


@pytest.fixture(scope="module")
def halves(workspace: Path) -> Path:
    return export(workspace)


def test_the_model_file_holds_the_language_models_weights_in_halves(workspace: Path, halves: Path) -> None:
    assert sorted(file.name for file in halves.iterdir()) == [
        "README.md", "aurora.json", "mmproj-f16.gguf", "model-f16.gguf", "settings.json",
    ]  # fmt: skip
    tensors = open_checkpoint(workspace / "runs" / "language").tensors
    keys, written = read(halves / "model-f16.gguf")
    assert len(written) == sum(names.part_of(name) == "language_model" for name in tensors)
    down = tensors[f"{names.LANGUAGE}model.layers.1.mlp.down_proj.weight"].read()
    assert np.array_equal(written["blk.1.ffn_down.weight"], down.half().float().numpy())
    query = tensors[f"{names.LANGUAGE}model.layers.0.self_attn.q_proj.weight"].read()
    assert np.array_equal(written["blk.0.attn_q.weight"], interleaved(query, 2).half().float().numpy())
    assert np.array_equal(written["output_norm.weight"], tensors[f"{names.LANGUAGE}model.norm.weight"].read().numpy())
    assert written["token_embd.weight"].shape == (671, 32)
    assert {key: keys[key] for key in ("general.architecture", "general.file_type", "llama.context_length")} == {
        "general.architecture": "llama", "general.file_type": 1, "llama.context_length": 512,
    }  # fmt: skip
    ids = [keys[f"tokenizer.ggml.{key}_token_id"] for key in ("bos", "eos", "padding")]
    assert (ids, keys["tokenizer.ggml.tokens"][:4]) == ([1, 2, 3], ["<unk>", "<s>", "</s>", "<pad>"])


def test_the_mmproj_file_says_how_images_are_made(halves: Path) -> None:
    keys, written = read(halves / "mmproj-f16.gguf")
    assert (keys["clip.projector_type"], keys["clip.vision.image_size"], keys["clip.vision.patch_size"]) == (
        "mlp",
        56,
        14,
    )
    assert keys["clip.vision.image_mean"] == pytest.approx([0.48145466, 0.4578275, 0.40821073])
    assert keys["clip.vision.feature_layer"] == [3]  # two of three, and the one that puts the class token in front
    assert keys["clip.vision.block_count"] == 3
    assert "v.blk.2.ffn_down.weight" in written
    assert "v.blk.3.ln1.weight" not in written


def test_blocks_of_8_bits_are_near(workspace: Path, tmp_path: Path) -> None:
    result = run(
        convert_settings(workspace, format="gguf", verify=False, quantization="q8_0", output=tmp_path / "eight")
    )
    reader = gguf.GGUFReader(Path(result.output) / "model-q8_0.gguf")
    kinds = {each.name: each.tensor_type.name for each in reader.tensors}
    assert (kinds["token_embd.weight"], kinds["blk.0.ffn_up.weight"], kinds["output_norm.weight"]) == (
        "Q8_0", "Q8_0", "F32",
    )  # fmt: skip
    up = open_checkpoint(workspace / "runs" / "language").tensors[f"{names.LANGUAGE}model.layers.0.mlp.up_proj.weight"]
    _, written = read(Path(result.output) / "model-q8_0.gguf")
    values = up.read().numpy()
    steps = np.abs(values).reshape(64, 1, 32).max(-1, keepdims=True) / 127  # of each block of 32
    # Half a step; and the step itself is kept in a half, of which 127 are taken at most: 127 / 2^11 of one more.
    assert (np.abs(written["blk.0.ffn_up.weight"] - values).reshape(64, 1, 32) <= steps * (0.5 + 127 / 2**11)).all()


def test_a_second_call_does_nothing_and_another_quantization_is_written(tmp_path: Path) -> None:
    make_runs(tmp_path)
    folder = export(tmp_path)
    again = run(convert_settings(tmp_path, format="gguf", verify=False))
    assert (again.done, again.output) == (False, str(folder))
    export(tmp_path, "q8_0")
    assert (folder / "model-q8_0.gguf").exists()
    assert not (folder / "model-f16.gguf").exists()


def test_notes_and_card_say_that_llama_cpp_merges_nothing(workspace: Path, halves: Path) -> None:
    notes = " ".join(run(convert_settings(workspace, format="gguf", verify=False)).notes)
    assert "merges no tokens" in notes
    assert "16 tokens a frame; in training (kept ratio 0.5) there were 8" in notes
    assert "pull request 25844" in notes
    assert "llama.cpp merges no tokens" in (halves / "README.md").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "gguf", "dtype": "float16"}, "has types of its own"),
        ({"format": "gguf", "safe_serialization": False}, "no pickles"),
        ({"format": "huggingface", "quantization": "q8_0"}, "is of --format gguf alone"),
    ],
)
def test_types_that_a_layout_has_not_are_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    make_runs(tmp_path)
    with pytest.raises(UsageError, match=message):
        run(convert_settings(tmp_path, **given))


def test_four_bits_without_llama_cpp_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path)
    monkeypatch.setattr(quantize, "BINDING", "not_installed_anywhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="neither llama-cpp-python nor llama-quantize"):
        run(convert_settings(tmp_path, format="gguf", quantization="q4_k_m"))
    assert not (tmp_path / "export" / "gguf").exists()


def test_a_folder_or_a_file_of_llama_cpps_is_told_as_such(halves: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in (halves, halves / "model-f16.gguf"):
        assert aurora(["caption", "a.png", "--model", str(model)]) == 2
        assert "which llama.cpp runs and aurora does not" in capsys.readouterr().err


@pytest.mark.slow
def test_our_own_reader_gives_the_logits_of_the_source(workspace: Path, halves: Path) -> None:
    from aurora_cli.checkpoints.loading import build_model
    from aurora_cli.models.merge_plan import WHOLE

    source: Any = build_model(open_checkpoint(workspace / "runs" / "language"))
    opened = open_gguf(halves / "model-f16.gguf")
    ids = torch.arange(4, 40)[None]
    with torch.no_grad():
        expected = source(input_ids=ids, merging=WHOLE).logits
        found = opened.model.eval()(input_ids=ids).logits
    assert float((expected - found).abs().max()) < 2e-3 * float(expected.abs().max())
    text = "USER: A red  circle\nmoves left. ASSISTANT:"
    tokenizer = open_checkpoint(workspace / "runs" / "language").tokenizer
    from aurora_cli.data.tokenization.tokenizer import load_tokenizer

    assert tokenizer is not None
    assert opened.tokenizer.encode(text, add_special_tokens=False) == load_tokenizer(Path(tokenizer)).encode(text)


@pytest.mark.slow
def test_the_command_verifies_and_says_what_proved_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_runs(tmp_path)
    command = ["convert", "--format", "gguf", "--workspace", str(tmp_path), "--json"]
    assert aurora(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verified"] is True
    whats = [each["what"] for each in said["differences"]]
    assert whats[0] == "a text, by transformers' reader of GGUF"
    if quantize.is_bound():
        assert whats[1:] == ["an image, nothing merged, by llama.cpp", "a video, nothing merged, by llama.cpp"]
    else:
        assert any("unproved by llama.cpp" in note for note in said["notes"])
    assert aurora(command) == 0
    assert json.loads(capsys.readouterr().out)["done"] is False
