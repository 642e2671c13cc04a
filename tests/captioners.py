"""Small captioners on disk for tests: a workspace with two finished runs, and the golden xtuner folder."""

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import CaptionSettings, ConvertSettings, ModelSettings, Settings
from tests.run_files import json_lines

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
WEIGHTS = GOLDEN / "model" / "weights"
TOKENIZER = ROOT / "presets" / "tiny" / "tokenizer"

MERGING = TokenMerging(kept_ratio=0.5)
MODEL = ModelSettings(
    tokenizer=str(TOKENIZER),
    image_size=56,
    vision_config={
        "model_type": "clip_vision_model",
        "image_size": 56,
        "patch_size": 14,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    },
    text_config={
        "model_type": "llama",
        "vocab_size": 671,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
)

TRAINED_IN_TOWER = {
    "clip_vision_model": "model.vision_tower.embeddings.class_embedding",
    "siglip_vision_model": "model.vision_tower.embeddings.patch_embedding.bias",
    "dinov2": "model.vision_tower.embeddings.cls_token",
}
"""What the language stage of `make_runs` changes in a tower, by its kind."""


def make_runs(workspace: Path, model: ModelSettings = MODEL) -> Path:
    """`runs/projection` from random weights, and `runs/language` from it; the folder of the second."""
    from aurora_cli.config.resolve import dump_yaml
    from aurora_cli.pipeline.train.build_model import write_initial

    first, second = workspace / "runs" / "projection", workspace / "runs" / "language"
    settings = Settings(workspace=workspace, model=model, merging=MERGING)
    write_initial(first / "initial", settings)
    # The projection stage's own change is overwritten by the language stage's; the tower keeps only its first layers.
    add_step(first, "runs/projection/initial", {"model.multi_modal_projector.linear_1.weight": 1.0}, model)
    trained = {
        "model.multi_modal_projector.linear_1.weight": 2.0,
        TRAINED_IN_TOWER[(model.vision_config or {})["model_type"]]: 3.0,
        "lm_head.weight": 0.5,
    }
    add_step(second, "runs/projection/checkpoints/step-00000002", trained, model)
    for run in (first, second):
        (run / "config.yaml").write_text(dump_yaml(settings))
        (run / "finished.json").write_text(json.dumps({"schema": 1, "stage": run.name}))
    return second


def add_step(run: Path, base: str, scaled: dict[str, float], model: ModelSettings = MODEL) -> Path:
    """A checkpoint whose trained weights are the initial ones times a number."""
    from aurora_cli.checkpoints import names

    workspace = run.parents[1]
    initial = load_file(workspace / "runs" / "projection" / "initial" / "model.safetensors")
    folder = run / "checkpoints" / "step-00000002"
    folder.mkdir(parents=True)
    canonical = {name: names.canonical(name) or "" for name in scaled}
    save_file(
        {name: initial[canonical[name]] * factor for name, factor in scaled.items()}, folder / "model.safetensors"
    )
    description: dict[str, Any] = {
        "schema": 1,
        "stage": run.name,
        "step": 2,
        "steps": 2,
        "base": base,
        "trained": ["projector"],
        "merging": MERGING.model_dump(),
        "model": model.model_dump(mode="json"),
        "order_hash": "",
    }
    (folder / "checkpoint.json").write_text(json.dumps(description))
    (run / "checkpoints" / "latest").write_text(f"{folder.name}\n")
    return folder


def convert_settings(workspace: Path, **convert: Any) -> Settings:
    return Settings(workspace=workspace, model=MODEL, convert=ConvertSettings(**convert))


def caption_settings(workspace: Path, *media: str, **caption: Any) -> Settings:
    return Settings(workspace=workspace, model=MODEL, caption=CaptionSettings(media=media, **caption))


BAD_MEDIUM = 4
"""Of the media of `make_list`, the one that is no image."""


def make_list(workspace: Path, media: int) -> None:
    """Runs, `media/` with images of which one is none, and `rows.jsonl`, a list of them with rows repeated and bad."""
    make_runs(workspace)
    (workspace / "media").mkdir()
    red, green, blue = (most // media for most in (220, 165, 99))
    rows: list[dict[str, Any]] = []
    for number in range(media):
        file = workspace / "media" / f"{number:02d}.png"
        Image.new("RGB", (40, 40), (red * number, 200 - green * number, blue * number)).save(file)
        rows.append({"media": f"media/{file.name}", "id": number})
    (workspace / "media" / f"{BAD_MEDIUM:02d}.png").write_text("no image")
    repeated = [rows[0], {"image": "media/00.png"}, rows[BAD_MEDIUM]]
    rows[6:6] = [*repeated, {"media": "media/01.png", "prompt": "What is it?"}]
    (workspace / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def untimed(path: Path) -> list[str]:
    """The captions of a file, byte for byte but for what differs between two runs of one process too."""
    lines = json_lines(path)
    return [json.dumps({k: v for k, v in line.items() if k not in ("seconds", "cost", "output")}) for line in lines]


def rejects(workspace: Path, output: str) -> list[str]:
    """What `rejected.jsonl` says of an output's media."""
    lines = json_lines(workspace / "rejected.jsonl")
    return [json.dumps({k: v for k, v in line.items() if k != "output"}) for line in lines if line["output"] == output]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder's safetensors files."""
    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found
