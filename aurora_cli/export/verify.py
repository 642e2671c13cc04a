"""Does an export compute what its source computes? Run in a process of its own (`verify_process.py`).

Its ids first (`verify_ids.py`). Then two fixed inputs: an image with nothing merged, through transformers' own LLaVA
where the layout is its; and a video merged as in training, through our model loaded from the export. A graph gets
frames alone. All in float32.
"""

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint, OpenOptions
from aurora_cli.checkpoints.facts import LogitComparison
from aurora_cli.checkpoints.loading import build_frame_tokens, build_model
from aurora_cli.checkpoints.opening import adapter_base, open_checkpoint
from aurora_cli.config.merging import TokenMerging
from aurora_cli.constants import IMAGE_PLACEHOLDER
from aurora_cli.errors import DataError
from aurora_cli.export.adapted import adapted_by_peft
from aurora_cli.export.layouts import onnx
from aurora_cli.export.verify_ids import check_ids, check_stops
from aurora_cli.io.endings import end_of
from aurora_cli.models.towers.kinds import kind_named

BOUNDS = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""Largest difference of two logits, as a share of the largest logit, by the type that weights were cast to."""

_TEXT_TOKENS = 12
_VIDEO_FRAMES = 2


@dataclass(frozen=True)
class VerifyRequest:
    """What is to be compared."""

    source: Path
    export: Path
    layout: str
    dtype: str
    """The coarsest type on the way."""
    options: OpenOptions = field(default_factory=OpenOptions)
    """With which the source is opened."""
    tokenizer: Path | None = None
    """That of training; none: not known, and no ids are compared."""
    template: str = ""
    """Of training, by its name."""


_REQUEST = TypeAdapter(VerifyRequest)
_COMPARISONS = TypeAdapter(list[LogitComparison])


def verify_in_child(request: VerifyRequest) -> list[LogitComparison]:
    """Compare in a fresh process.

    Raises:
        DataError: the export cannot be loaded, or its ids are not those of training; the message is the child's.
    """
    environment = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    child = subprocess.run(
        [sys.executable, "-m", "aurora_cli.export.verify_process", _REQUEST.dump_json(request).decode()],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode < 0:
        raise DataError(f"{request.export}: cannot be verified: what computes it {end_of(child.returncode)}")
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or ["it ended without a message"])[-1]
        is_finding = child.returncode == DataError.exit_code
        raise DataError(reason if is_finding else f"{request.export}: cannot be verified: {reason}")
    return _COMPARISONS.validate_json(child.stdout.splitlines()[-1])


def compare(request: VerifyRequest) -> list[LogitComparison]:
    """Both inputs through the source, then through the export; one model is in memory at a time.

    Raises:
        DataError: the export is not what its source is in another way than its logits.
    """
    if request.layout == "onnx":
        return [_compared_graph(request)]
    if request.layout == "gguf":
        return _by_llama_cpp(request)
    if request.tokenizer is not None:
        check_ids(request.export, request.tokenizer, request.template)
    source = open_checkpoint(request.source, request.options)
    image, video = _inputs(source, frames=1), _inputs(source, frames=_VIDEO_FRAMES)
    whole = TokenMerging(kept_ratio=1.0)
    expected = _through(lambda: _ours(source), (image, whole), (video, source.merging))
    export = open_checkpoint(request.export)
    if export.merging != source.merging:
        raise DataError(f"{request.export}: says that it merges as {export.merging}, not as {source.merging}")
    plain = request.layout == "huggingface" and _is_native(export)
    found: list[torch.Tensor] = []
    if plain:
        found += _through(lambda: _plain(request, source), (image, whole))
        _check_processor(request.export, source)
    ours = ((video, export.merging),) if plain else ((image, whole), (video, export.merging))
    found += _through(lambda: _ours(export), *ours)
    ratio = f"kept ratio {source.merging.kept_ratio:g}"
    labels = ("an image, nothing merged" + (", plain transformers" if plain else ""), f"a video, {ratio}")
    compared = [_compared(*each, request.dtype) for each in zip(labels, expected, found, strict=True)]
    return [*compared, *_compared_with_peft(source, request.options, image, expected[0])]


def _compared_graph(request: VerifyRequest) -> LogitComparison:
    """Frames through the graph in onnxruntime beside the source's tower and projector."""
    graph = onnx.FrameGraph.read(request.export / onnx.DESCRIPTION_FILE)
    source = replace(open_checkpoint(request.source, request.options), merging=graph.merging)
    network = build_frame_tokens(source)
    difference, largest = onnx.compare(request.export, network, source.model.image_size)
    what = f"frames in onnxruntime, kept ratio {graph.merging.kept_ratio:g}"
    return LogitComparison(what, difference, BOUNDS["float32"] * max(1.0, largest))


def _by_llama_cpp(request: VerifyRequest) -> list[LogitComparison]:
    from aurora_cli.export.llama_cpp import proof

    if request.tokenizer is None:
        raise DataError(f"{request.export}: its tokenizer is not known")
    source = open_checkpoint(request.source, request.options)
    return proof.compare(source, request.export, request.tokenizer, request.template)


Inputs = dict[str, torch.Tensor]
Forward = Callable[[Inputs, TokenMerging], torch.Tensor]


def _through(make: Callable[[], Forward], *inputs: tuple[Inputs, TokenMerging]) -> list[torch.Tensor]:
    forward = make()
    with torch.no_grad():
        logits = [forward(*each) for each in inputs]
    del forward
    gc.collect()
    return logits


def _compared_with_peft(
    source: OpenedCheckpoint, options: OpenOptions, image: Inputs, merged: torch.Tensor
) -> list[LogitComparison]:
    """What a merged adapter computes beside the adapted model; nothing where peft cannot say."""
    if source.kind != "adapter":
        return []
    adapted = adapted_by_peft(adapter_base(source.path, options), source.path)
    if adapted is None:
        return []
    with torch.no_grad():
        expected = adapted(**image, merging=TokenMerging(kept_ratio=1.0)).logits[0, -_TEXT_TOKENS:]
    stored_as = str(source.tensors[names.EMBEDDING].dtype).removeprefix("torch.")  # merged weights are rounded to it
    return [
        _compared("an image, the adapter by peft", expected, merged, stored_as if stored_as in BOUNDS else "float32")
    ]


def _ours(checkpoint: OpenedCheckpoint) -> Forward:
    model = build_model(checkpoint)
    return lambda inputs, merging: model(**inputs, merging=merging).logits[0, -_TEXT_TOKENS:]


def _plain(request: VerifyRequest, source: OpenedCheckpoint) -> Forward:
    from transformers import AutoModelForImageTextToText

    folder = request.export
    loaded: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    model, info = loaded
    wrong = {key: sorted(info[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[key]}
    if wrong:
        raise DataError(f"{folder}: plain transformers finds {wrong}")
    tokens = model.config.image_seq_length
    if tokens != (source.model.image_size // model.config.vision_config.patch_size) ** 2:
        raise DataError(f"{folder}: image_seq_length is {tokens}")
    if request.tokenizer is not None:
        check_stops(model, folder, request.tokenizer, request.template)

    def forward(inputs: Inputs, _: TokenMerging) -> torch.Tensor:
        repeats = torch.where(inputs["input_ids"][0] == IMAGE_PLACEHOLDER, tokens, 1)
        ids = inputs["input_ids"][0].masked_fill(
            inputs["input_ids"][0] == IMAGE_PLACEHOLDER, model.config.image_token_id
        )
        expanded = ids.repeat_interleave(repeats)[None]
        return model(input_ids=expanded, pixel_values=inputs["pixel_values"]).logits[0, -_TEXT_TOKENS:]

    return forward


def _check_processor(folder: Path, source: OpenedCheckpoint) -> None:
    """`AutoProcessor` gives an image the pixels of training, and a placeholder for each of its tokens."""
    if not (folder / "processor_config.json").exists():
        return
    import numpy as np
    from PIL import Image
    from transformers import AutoProcessor

    from aurora_cli.constants import IMAGE
    from aurora_cli.data.media.transforms import normalise, padding_colour, square_image

    model = source.model
    levels = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    image = Image.fromarray(levels)
    square = square_image(image, model.image_size, padding_colour(model.image_mean))
    expected = normalise(torch.from_numpy(square.copy())[None], model.image_mean, model.image_std)
    processor = AutoProcessor.from_pretrained(folder)
    got = processor(images=image, text=f"{IMAGE}\n", return_tensors="pt")
    difference = float((got["pixel_values"] - expected).abs().max())
    if difference > 1e-4:
        raise DataError(f"{folder}: its processor's pixels are {difference:.3g} off those of training")
    placeholders = int((got["input_ids"] == processor.image_token_id).sum())
    tokens = (model.image_size // processor.patch_size) ** 2
    if placeholders != tokens:
        raise DataError(f"{folder}: its processor gives an image {placeholders} placeholders; it has {tokens} tokens")


def _inputs(checkpoint: OpenedCheckpoint, frames: int) -> Inputs:
    generator = torch.Generator().manual_seed(frames)
    text: Any = checkpoint.config.text_config
    ids = torch.randint(0, text.vocab_size, (1, 1 + _TEXT_TOKENS), generator=generator)
    placeholders = torch.full((1, frames), IMAGE_PLACEHOLDER)
    side = checkpoint.model.image_size
    return {
        "input_ids": torch.cat([ids[:, :1], placeholders, ids[:, 1:]], dim=1),
        "pixel_values": torch.randn(frames, 3, side, side, generator=generator),
    }


def _is_native(checkpoint: OpenedCheckpoint) -> bool:
    """Whether plain LLaVA, most of whose towers resize no position embeddings, can read images of training's size."""
    vision: Any = checkpoint.config.vision_config
    return vision.image_size == checkpoint.model.image_size or kind_named(vision.model_type).any_size


def _compared(what: str, expected: torch.Tensor, found: torch.Tensor, dtype: str) -> LogitComparison:
    columns = min(expected.shape[-1], found.shape[-1])  # an export may have more rows than training knew
    difference = float((expected[:, :columns] - found[:, :columns]).abs().max())
    return LogitComparison(what, difference, BOUNDS[dtype] * max(1.0, float(expected.abs().max())))


def answer(request: str) -> int:
    """What a process of its own does for `verify_in_child`: compare, and say what came of it; its exit code."""
    try:
        print(_COMPARISONS.dump_json(compare(_REQUEST.validate_json(request))).decode())  # noqa: T201
    except DataError as finding:
        sys.stderr.write(f"{finding.message}\n")
        return finding.exit_code
    return 0
