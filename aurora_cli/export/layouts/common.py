"""What the writers of all layouts share: what is to be written, and the files that say how images are read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.lazy_tensors import Tensors
from aurora_cli.checkpoints.writing import write_weights
from aurora_cli.config.settings import ModelSettings
from aurora_cli.config.using import Quantization
from aurora_cli.data.tokenization.prompt import Prompter
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.io.json_files import JsonObject
from aurora_cli.models.parts import Part

DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float64: "float64"}
BICUBIC = 3


@dataclass(frozen=True)
class ExportJob:
    """One export."""

    checkpoint: OpenedCheckpoint
    tokenizer_folder: Path | None
    """None: no tokenizer is known, and none is written."""
    template: str
    dtype: torch.dtype | None
    """Of the written weights; none: as they are."""
    safe: bool
    max_shard_bytes: int
    advance: Callable[[int], None] = lambda _: None
    quantization: Quantization | None = None
    """Of GGUF."""

    @property
    def tensors(self) -> Tensors:
        """As they are written."""
        return self.cast(self.checkpoint.tensors)

    def cast(self, tensors: Tensors) -> Tensors:
        return {name: tensor.cast(self.dtype) for name, tensor in tensors.items()}

    def write(self, folder: Path, tensors: Tensors) -> None:
        write_weights(folder, tensors, safe=self.safe, max_shard_bytes=self.max_shard_bytes, advance=self.advance)


def dtype_name(tensors: Tensors) -> str:
    """The type that most of the language model has, as configs call it."""
    return DTYPE_NAMES.get(tensors[names.EMBEDDING].dtype, "float32")


def tensors_of(tensors: Tensors, part: Part) -> Tensors:
    """The weights of one part of the network."""
    return {name: tensor for name, tensor in tensors.items() if names.part_of(name) == part}


def vision_config(checkpoint: OpenedCheckpoint) -> JsonObject:
    return checkpoint.config.vision_config.to_dict()  # pyrefly: ignore[missing-attribute]


def text_config(checkpoint: OpenedCheckpoint) -> JsonObject:
    return checkpoint.config.text_config.to_dict()  # pyrefly: ignore[missing-attribute]


def token_ids(config: JsonObject) -> JsonObject:
    keys = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {key: config[key] for key in keys if config.get(key) is not None}


def one_or_all(ids: list[int]) -> int | list[int]:
    """Ids as generation configs hold them: one alone, several as a list."""
    return ids[0] if len(ids) == 1 else ids


def generation_ids(job: ExportJob) -> JsonObject:
    """The ids that generation begins and ends with: what the template of training taught as the end among them."""
    ids = token_ids(text_config(job.checkpoint))
    if job.tokenizer_folder is None:
        return ids
    return ids | {"eos_token_id": one_or_all(Prompter(load_tokenizer(job.tokenizer_folder), job.template).end_ids)}


def image_processor_config(model: ModelSettings) -> JsonObject:
    """A CLIP image processor's file: resize to the square, normalise. Padding to it is the caller's there."""
    side = {"height": model.image_size, "width": model.image_size}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": model.image_size},
        "resample": BICUBIC,
        "do_center_crop": True,
        "crop_size": side,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(model.image_mean),
        "image_std": list(model.image_std),
    }
