"""The network that a stage trains: built from where it starts or goes on from, with its adapters, the rest frozen."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.blueprint import llava_config, with_vocabulary
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint, OpenOptions
from aurora_cli.checkpoints.layouts import open_parts
from aurora_cli.checkpoints.lazy_tensors import in_memory
from aurora_cli.checkpoints.loading import build_model as build
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.checkpoints.writing import write_weights
from aurora_cli.config.settings import Settings
from aurora_cli.config.training import Lora, ModuleTraining
from aurora_cli.errors import UsageError
from aurora_cli.export.vocabulary import grow
from aurora_cli.io.atomic import atomic_directory
from aurora_cli.models.assign import Assign, values_of
from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig
from aurora_cli.models.layers.quantized import quantize_layers
from aurora_cli.models.parts import Part
from aurora_cli.pipeline.own_parts import check_patches
from aurora_cli.pipeline.train.new_projector import new_projector
from aurora_cli.pipeline.train.plan import StagePlan
from aurora_cli.pipeline.train.rows_fit import check_rows
from aurora_cli.runs.layout import INITIAL
from aurora_cli.training import lora, optim
from aurora_cli.training.checkpoint import TrainingCheckpoint
from aurora_cli.training.optim import TrainedParameters
from aurora_cli.training.processes import collectives
from aurora_cli.training.trained_parts import adapted_parts, trained_parts

INITIAL_SHARD_BYTES = 5 * 10**9


class Network(NamedTuple):
    """A network ready to be wrapped."""

    model: AuroraCap
    trained: dict[Part, ModuleTraining]
    parameters: TrainedParameters
    adapters: dict[Part, Lora]
    """By part, as a checkpoint keeps them."""
    source: OpenedCheckpoint
    """The weights that it was built from; of parts that are trained, perhaps not those that it has."""


def build_network(plan: StagePlan, assign: Assign) -> Network:
    """The network with the weights that the run's next step starts from, in fp32 unless `assign` says otherwise."""
    train = plan.settings.train
    trained, adapted = trained_parts(train), adapted_parts(train)
    over = bool(adapted) or train.quantize_base is not None
    model, source = build_model(plan, assign, adapted=over)
    if train.quantize_base is not None:
        quantize_layers(model.model.language_model, train.quantize_base)
    _seed(plan.settings)  # every rank makes the same adapters
    adapters = lora.add_adapters(model, adapted)
    for name, parameter in model.named_parameters():
        if lora.MARK in name:
            assign(parameter, values_of(parameter))
    if over and plan.resume is not None:
        TrainingCheckpoint(plan.resume).write_into(dict(model.named_parameters()), assign)
    parameters = optim.trained_parameters(model, trained, adapted)
    optim.freeze_all_but(model, parameters)
    if train.gradient_checkpointing:
        model.checkpoint_activations()
    return Network(model, trained, parameters, adapters, source)


def build_model(plan: StagePlan, assign: Assign, *, adapted: bool = False) -> tuple[AuroraCap, OpenedCheckpoint]:
    """The network, and what it is built from; `adapted`: without what a checkpoint to go on from holds, which is for
    adapters."""

    settings = plan.settings
    if plan.resume is not None and not adapted:
        saved = open_checkpoint(plan.resume, OpenOptions(root=settings.workspace))
        return build(saved, settings.merging.largest, assign=assign), saved
    start = open_start(plan)
    _check_patches(plan, start)
    rows = check_rows((*plan.data, *plan.validation), settings, start)
    if rows is not None:
        start = _with_rows(start, rows, settings)
    fresh = frozenset[Part]()
    if plan.start.kind == "models":
        if plan.fits_projector:
            start = _with_projector(start, plan)
        _seed(settings)  # every rank makes the same new projector
        fresh = frozenset[Part]({"projector"})
    return build(start, settings.merging.largest, fresh=fresh, assign=assign), start


def _check_patches(plan: StagePlan, start: OpenedCheckpoint) -> None:
    """
    Raises:
        UsageError: frames are not whole patches, and not of the side that the weights learned with.
    """
    size, vision = plan.settings.model.image_size, cast(Any, start.config.vision_config)
    learned = plan.start.kind == "checkpoint" and size == start.model.image_size
    if not learned:
        check_patches(size, vision.patch_size, "the settings")


def open_start(plan: StagePlan) -> OpenedCheckpoint:
    """What the run's first step starts from."""
    settings, root = plan.settings, plan.settings.workspace
    if plan.start.kind == "models":
        model = settings.model
        return open_parts(model.vision_tower, model.language_model, model, root)
    if plan.start.kind == "random":
        collectives.broadcast_from_rank0(lambda: write_initial(plan.run_dir / INITIAL, settings))
        return open_checkpoint(plan.run_dir / INITIAL, OpenOptions(root=root))
    assert isinstance(plan.start.base, str)
    return open_checkpoint(plan.start.base, OpenOptions(root=root))


def _with_projector(start: OpenedCheckpoint, plan: StagePlan) -> OpenedCheckpoint:
    """With the new projector that rank 0 fits to the run's data. All call it together."""
    weights = collectives.broadcast_from_rank0(lambda: new_projector(plan, start))
    return replace(start, tensors={**start.tensors, **in_memory(weights, plan.run_dir)})


def _with_rows(start: OpenedCheckpoint, rows: int, settings: Settings) -> OpenedCheckpoint:
    """With more rows in embedding and head.

    Raises:
        UsageError: the language model is not trained, so that the rows would be neither learned nor kept.
    """
    train = settings.train
    if train.language_model is None or "language_model" in adapted_parts(train):
        raise UsageError(
            "train.grow_vocabulary: the language model is not trained as a whole, so embeddings would not be learned",
            hint="Grow in a stage that trains it (--set train.language_model.lr=1e-5), without adapters.",
        )
    return replace(start, tensors=grow(start.tensors, rows), config=with_vocabulary(start.config, rows))


def write_initial(folder: Path, settings: Settings) -> None:
    """A captioner of random weights in the huggingface layout, made from the model settings; nothing if it is there."""
    if folder.is_dir():
        return

    model = settings.model
    assert model.vision_config is not None
    assert model.text_config is not None
    sources = {"tower": "model.vision_config", "language": "model.text_config"}
    values = llava_config(model.vision_config, model.text_config, model, **sources).to_dict()
    values |= {
        "architectures": [AuroraCap.__name__],
        "merging": settings.merging.largest.model_dump(mode="json"),
        "image_size": model.image_size,
    }
    _seed(settings)
    network = AuroraCap(AuroraCapConfig.from_dict(values))
    named = {names.canonical(own_name): tensor for own_name, tensor in network.state_dict().items()}
    tensors = in_memory({name: tensor for name, tensor in named.items() if name is not None}, folder)
    with atomic_directory(folder) as partial:
        write_weights(partial, tensors, safe=True, max_shard_bytes=INITIAL_SHARD_BYTES)
        network.config.save_pretrained(partial)


def _seed(settings: Settings) -> None:

    torch.manual_seed(settings.train.seed)
