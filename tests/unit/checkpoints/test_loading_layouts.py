"""`load_model` on every layout that holds a captioner, whole or in shards, and what loading costs in memory."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import aurora_cli
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.checkpoints.weight_files import open_weights
from aurora_cli.checkpoints.writing import write_weights
from aurora_cli.config.merging import TokenMerging
from aurora_cli.models.auroracap import AuroraCap
from tests.captioners import GOLDEN, WEIGHTS

SHARD = 60_000
"""Bytes: several files of each part."""


@pytest.fixture
def golden_copy(tmp_path: Path) -> Path:
    folder = tmp_path / "released"
    shutil.copytree(WEIGHTS, folder, ignore=shutil.ignore_patterns("aurora_*"))
    return folder


def loss_of(model: AuroraCap) -> float:
    golden = load_file(GOLDEN / "model" / "one_image_r0.5" / "tensors.safetensors")
    inputs = {name: golden[f"in.{name}"] for name in ("input_ids", "attention_mask", "labels")}
    merging = TokenMerging(kept_ratio=0.5, schedule="constant", proportional_attention=False)
    with torch.no_grad():
        return model(**inputs, pixel_values=golden["in.pixel_values"].flatten(0, 1), merging=merging).loss.item()


def golden_loss() -> float:
    return json.loads((GOLDEN / "model" / "one_image_r0.5" / "manifest.json").read_text())["forwards"][0]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
@pytest.mark.parametrize("root", [".", "llm"])
def test_a_released_folder_in_shards_gives_the_originals_numbers(golden_copy, tmp_path, safe, root):
    for part in ("llm", "visual_encoder", "projector"):
        folder = golden_copy / part
        write_weights(tmp_path / part, open_weights(folder), safe=safe, max_shard_bytes=SHARD)
        (folder / "model.safetensors").unlink()
        for file in (tmp_path / part).iterdir():
            shutil.copy(file, folder)
    if root == ".":
        for file in (golden_copy / "llm").iterdir():
            file.rename(golden_copy / file.name)
        (golden_copy / "llm").rmdir()
    assert len(list(golden_copy.rglob("*-of-*"))) > 6
    model = aurora_cli.load_model(golden_copy)
    assert model.config.token_merging == TokenMerging(schedule="constant", proportional_attention=False)
    assert loss_of(model) == pytest.approx(golden_loss(), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["10GB", "60KB"])
def test_a_huggingface_folder_keeps_its_merging_whole_or_in_shards(tmp_path, shard):
    merging = TokenMerging(kept_ratio=0.5, slowfast=True)
    model = aurora_cli.load_model(WEIGHTS, token_merging=merging)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "60KB")
    again = aurora_cli.load_model(tmp_path)
    assert again.config.token_merging == merging
    assert loss_of(again) == pytest.approx(golden_loss(), abs=1e-4)


def test_a_release_of_the_original_merges_as_it_did_and_says_so():
    checkpoint = open_checkpoint(WEIGHTS)
    assert checkpoint.merging == TokenMerging(kept_ratio=1.0, schedule="constant", proportional_attention=False)
    assert any("no proportional attention" in note for note in checkpoint.notes)


PEAK = """
import sys, threading, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import aurora_cli
from aurora_cli.checkpoints import loading

def anonymous():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024

aurora_cli.load_model(sys.argv[2])  # what imports and a first model cost is not the question
held, peak, done = anonymous(), [0], threading.Event()

def watch():
    while not done.is_set():
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.001)

watcher = threading.Thread(target=watch)
watcher.start()
model = aurora_cli.load_model(sys.argv[1], dtype=sys.argv[3])
done.set()
watcher.join()
size = sum(p.numel() * p.element_size() for p in model.parameters())
print(size, max(peak[0], anonymous()) - held)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("imports_done")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("safe", "dtype"), [(True, "float32"), (True, "bfloat16"), (False, "float32")])
def test_loading_takes_the_memory_of_the_model_once(tiny_large: Path, tmp_path, safe, dtype):
    folder = tiny_large
    if not safe:
        folder = tmp_path / "bin"
        write_weights(folder, open_weights(tiny_large), safe=False, max_shard_bytes=20_000_000)
        shutil.copy(tiny_large / "config.json", folder)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(folder), str(WEIGHTS), dtype], capture_output=True, text=True, check=True
    )
    size, peak = map(int, done.stdout.split())
    assert size > (100e6 if dtype == "float32" else 50e6)
    assert peak < 1.25 * size + 4e6


@pytest.fixture(scope="module")
def tiny_large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 120 MB, the largest tensor a tenth of it, in shards."""
    from transformers import CLIPVisionConfig, LlamaConfig

    from aurora_cli.models.auroracap import AuroraCapConfig

    folder = tmp_path_factory.mktemp("large")
    vision = CLIPVisionConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, image_size=56, patch_size=14
    )
    text = LlamaConfig(
        hidden_size=640, intermediate_size=1280, num_hidden_layers=6, num_attention_heads=8, vocab_size=4000
    )
    AuroraCap(AuroraCapConfig(vision_config=vision, text_config=text, image_token_index=4000)).save_pretrained(
        folder, max_shard_size="30MB"
    )
    return folder
