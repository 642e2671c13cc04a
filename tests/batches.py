"""A small batch of text, an image and a video for tests of the model: padded, sample by sample, and packed."""

from typing import Any

import torch
from transformers import PreTrainedConfig, Qwen2Config

from aurora_cli.config.merging import TokenMerging
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.models.packed_rows import PackedRows


def batch() -> dict[str, torch.Tensor]:
    """Text alone, an image, a video of three frames between two images; padded on the right."""
    ids = torch.tensor(
        [
            [1, 5, 6, 7, 8, 9, 0, 0],
            [1, -200, 10, 11, 12, 13, 14, 2],
            [1, -200, 20, -200, -200, -200, -200, 21],
        ]
    )
    labels = torch.where(ids > 7, ids, -100)
    return {
        "input_ids": ids,
        "attention_mask": (ids != 0).long(),
        "labels": labels,
        "pixel_values": torch.randn(6, 3, 56, 56),
        "media_lengths": torch.tensor([1, 1, 3, 1]),
    }


def rows_of(inputs: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """The batch's samples, one by one and without padding."""
    frames = inputs["pixel_values"].split([1, 5])
    media = [None, frames[0], frames[1]]
    lengths = [[], [1], [1, 3, 1]]
    samples = []
    for row, mask in enumerate(inputs["attention_mask"].bool()):
        sample = {name: inputs[name][row : row + 1, mask] for name in ("input_ids", "labels")}
        samples.append(sample | {"pixel_values": media[row], "media_lengths": lengths[row]})
    return samples


def packed(
    model: AuroraCap, inputs: dict[str, torch.Tensor], merging: TokenMerging, padding: int = 3
) -> dict[str, Any]:
    """The call of the training loop with the batch as the collator packs it: all samples in one row."""
    counts = model.config.frame_token_counts(56, 56, merging).per_frame(inputs["media_lengths"].tolist())
    ids, labels, positions, segments, frame = [], [], [], [], 0
    for number, (row, mask) in enumerate(zip(inputs["input_ids"], inputs["attention_mask"].bool(), strict=True), 1):
        length = 0
        for token, label in zip(row[mask].tolist(), inputs["labels"][number - 1][mask].tolist(), strict=True):
            repeat, frame = (counts[frame], frame + 1) if token == -200 else (1, frame)
            ids += [model.config.image_token_id if token == -200 else token] * repeat
            labels += [label] * repeat
            length += repeat
        positions += range(length)
        segments += [number] * length
    fill = {"input_ids": 0, "labels": -100, "position_ids": 0, "segment_ids": 0}
    columns = {"input_ids": ids, "labels": labels, "position_ids": positions, "segment_ids": segments}
    tensors = {name: torch.tensor([column + [fill[name]] * padding]) for name, column in columns.items()}
    media = {"pixel_values": inputs["pixel_values"], "media_lengths": inputs["media_lengths"]}
    return {"packed": PackedRows(**tensors, **media), "merging": merging}


def qwen2() -> Qwen2Config:
    return Qwen2Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip


def language_configs(configs: Any) -> dict[str, PreTrainedConfig]:
    """Tiny language models of the families that are meant to work."""
    return {
        "llama": configs.llama(),
        "smollm2": configs.llama(num_key_value_heads=2, tie_word_embeddings=True),
        "qwen2": qwen2(),
    }
