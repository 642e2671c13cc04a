"""Tower and projector as one ONNX graph at one kept ratio: frames go in, what the language model reads comes out.

vision.onnx     pixel_values (frames, 3, side, side) -> visual_tokens (frames, tokens, hidden), float32, any number of
                frames; from 1.5 GB of weights on, these lie in vision.onnx.data beside it
vision.json     `FrameGraph`: what goes in, and what comes out

By a fixed ratio all shapes but the number of frames are fixed, so that merging is sorts and gathers of known sizes.
"""

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch

from aurora_cli.checkpoints.loading import build_frame_tokens
from aurora_cli.config.merging import TokenMerging
from aurora_cli.export.layouts.common import ExportJob, text_config
from aurora_cli.io.json_files import StoredModel

GRAPH_FILE = "vision.onnx"
DESCRIPTION_FILE = "vision.json"
INPUT, OUTPUT = "pixel_values", "visual_tokens"
OPSET = 18
"""The oldest that the exporter writes; the more runtimes read it."""

_ONE_FILE_BYTES = 1_500_000_000
"""A file of protobuf has less than 2 GB."""


class FrameGraph(StoredModel):
    """`vision.json`: what goes into the graph, and what comes out."""

    WHAT: ClassVar[str] = "the description of a graph of tower and projector"

    file: str
    input: str
    """(frames, 3, image_size, image_size) float32: RGB from 0 to 1, less `image_mean`, over `image_std`."""
    output: str
    """(frames, tokens, hidden_size) float32."""
    image_size: int
    """Pixels; images are padded to a square with the mean colour, then resized (bicubic)."""
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    patches: int
    """Of a frame."""
    tokens: int
    """Of a frame, after merging."""
    hidden_size: int
    """Of the language model."""
    merging: TokenMerging
    opset: int


def write(job: ExportJob, folder: Path) -> list[str]:
    """Write the graph; the notes say what a user should know of it."""
    model, merging = job.checkpoint.model, job.checkpoint.merging
    network = build_frame_tokens(job.checkpoint)
    _drop_what_never_runs(network.vision_tower, len(network.removals))
    side = model.image_size
    example = torch.zeros(2, 3, side, side)
    num_bytes = sum(tensor.num_bytes for tensor in job.tensors.values())
    with _silent():
        program: Any = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("frames")},),
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
            verbose=False,
        )
    program.save(str(folder / GRAPH_FILE), external_data=num_bytes > _ONE_FILE_BYTES)
    job.advance(num_bytes)
    patches = (side // network.vision_tower.config.patch_size) ** 2
    FrameGraph(
        file=GRAPH_FILE,
        input=INPUT,
        output=OUTPUT,
        image_size=side,
        image_mean=model.image_mean,
        image_std=model.image_std,
        patches=patches,
        tokens=patches - sum(network.removals),
        hidden_size=text_config(job.checkpoint)["hidden_size"],
        merging=merging,
        opset=OPSET,
    ).write(folder / DESCRIPTION_FILE)
    if not merging.slowfast or merging.kept_ratio == 1.0:
        return []
    return ["the first frame of a video stays whole in this model: write a second graph by --token-kept-ratio 1 for it"]


@contextmanager
def _silent() -> Iterator[None]:
    """Without the exporter's words on itself: torchvision's operators that are not there, names that it will change."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _stable_sort(values: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """What torch's exporter has no function for: of equal values, `TopK` puts that of the lower index first.

    It sorts along the last axis, as merging does.
    """
    from onnxscript import opset18

    return opset18.TopK(values, opset18.Shape(values, start=-1), axis=dim, largest=int(descending), sorted=1)


def _drop_what_never_runs(tower: Any, layers_run: int) -> None:
    """The layers behind the features: a graph would carry their weights along."""
    del tower.encoder.stack[layers_run:]


def compare(folder: Path, network: torch.nn.Module, side: int, frames: int = 3) -> tuple[float, float]:
    """The difference of the graph in onnxruntime from `network`, and the largest value that comes out of it.

    Of each frame's largest difference the middle one: where two pairs of tokens are alike but for rounding, another
    pair may merge there, which changes tokens of that frame; what is wrong changes every frame.
    """
    import onnxruntime

    pixels_F3HW = torch.randn(frames, 3, side, side, generator=torch.Generator().manual_seed(frames))
    session = onnxruntime.InferenceSession(folder / GRAPH_FILE, providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run([OUTPUT], {INPUT: pixels_F3HW.numpy()})[0])
    with torch.no_grad():
        expected = network(pixels_F3HW)
    if found.shape != expected.shape:
        return math.inf, 1.0
    difference_F = (found - expected).abs().flatten(1).amax(dim=1)
    return float(difference_F.median()), float(expected.abs().max())
