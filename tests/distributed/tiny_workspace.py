"""A workspace with a few tokenized images, videos and text-only records, and a model of 60,000 weights."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from aurora_cli.config.presets import presets_folder
from aurora_cli.config.settings import Settings

COLOURS = ("red", "green", "blue", "yellow", "white", "black")
TOKENIZER = presets_folder() / "tiny" / "tokenizer"
MODEL = {
    "image_size": 28,
    "tokenizer": str(TOKENIZER),
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 7,
    },
    "text_config": {
        "model_type": "llama",
        "hidden_size": 33,
        "head_dim": 8,
        "intermediate_size": 47,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "vocab_size": 671,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
    },
}
"""A width of 33 does not divide evenly among ranks: sharded engines pad."""

STAGES: dict[str, dict[str, Any]] = {
    "projection": {"projector": {"lr": 1e-2}},
    "vision": {"after": "projection", "projector": {"lr": 3e-3}, "vision_tower": {"lr": 3e-3}},
    "language": {
        "after": "vision",
        "projector": {"lr": 3e-3},
        "vision_tower": {"lr": 3e-3},
        "language_model": {"lr": 3e-3, "weight_decay": 0.01},
    },
}


def settings(root: Path, stage: str = "language", **train: Any) -> Settings:
    """Settings of a stage; `after=None` lets it start from random weights."""
    how = {
        "stage": stage,
        "global_batch_packs": 4,
        "pack_tokens": 96,
        "pack_frames": 8,
        "max_steps": 4,
        **STAGES[stage],
        **train,
    }
    return Settings.model_validate(
        {
            "workspace": root,
            "model": MODEL,
            "merging": {"kept_ratio": 0.5},
            "train": how,
            "tokenize": {"clip_subsets": ["videos"]},
            "data": {"workers": 0},
            "checkpoint": {"every": 2, "keep": 2},
        }
    )


def make(root: Path, stage: str = "language", images: int = 24, videos: int = 8, texts: int = 8) -> None:
    """Annotations, media and merged shards of one stage."""
    from aurora_cli.pipeline import merge_shards
    from aurora_cli.pipeline.tokenize import command as tokenize

    for subset, records in (
        ("images", [_image(root / "data" / stage / "images", n) for n in range(images)]),
        ("videos", [_video(root / "data" / stage / "videos", n) for n in range(videos)]),
        ("texts", [_text(n) for n in range(texts)]),
    ):
        folder = root / "data" / stage / subset
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{subset}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    chosen = settings(root, stage)
    tokenize.run(chosen)
    merge_shards.run(chosen)


def _image(folder: Path, number: int) -> dict[str, Any]:
    colour = COLOURS[number % len(COLOURS)]
    name = f"{number}.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30 + number % 5, 28), colour).save(folder / name)
    return _record(f"image-{number}", "<image>\nDescribe the image.", f"A {colour} image.", image=name)


def _video(folder: Path, number: int) -> dict[str, Any]:
    names = []
    for frame in range(3):
        colour = COLOURS[(number + frame) % len(COLOURS)]
        path = folder / str(number) / f"{frame}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (28, 28), colour).save(path)
        names.append(f"{number}/{frame}.png")
    return _record(f"video-{number}", "<image>" * 3 + "\nDescribe the video.", f"A video of {colour}.", image=names)


def _text(number: int) -> dict[str, Any]:
    return _record(f"text-{number}", f"Count {'one two three ' * (number % 4 + 1)}", "four five six seven")


def _record(name: str, question: str, answer: str, **media: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": name, **media, "conversations": turns}
