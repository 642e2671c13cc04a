"""Where model, data and training meet: what every process of a run builds, restores and loops over."""

import functools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_cli.config.settings import Settings
from aurora_cli.console import Reporter
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.errors import DataError, HostError
from aurora_cli.files import whole_folder
from aurora_cli.pipeline.shard_folder import TOKENIZER
from aurora_cli.pipeline.stage import INITIAL, StagePlan

if TYPE_CHECKING:
    from aurora_cli.data.loader import TrainingData
    from aurora_cli.models.auroracap import AuroraCap
    from aurora_cli.training.launch import Rank
    from aurora_cli.training.trainer import Outcome

INITIAL_SHARD_BYTES = 5 * 10**9


def train_stage(plan: StagePlan, rank: "Rank", engine_name: str, reporter: Reporter) -> "tuple[Outcome, int]":
    """Train to the last step. Returns where it came to, and how many steps there were to be.

    Raises:
        Interrupted: a signal came; the state is saved.
    """
    from aurora_cli.data.sampler import accumulation
    from aurora_cli.training import engine, optim, stopping, trainer
    from aurora_cli.training.checkpoint import Checkpoint, Description, Position
    from aurora_cli.training.engine_config import read_config
    from aurora_cli.training.health import MediaLimit
    from aurora_cli.training.watchdog import watchdog

    settings = plan.settings
    train = settings.train
    stop = stopping.StopRequest()
    with stopping.on_stop_signals(stop):
        if rank.is_main:
            reporter.info(f"weights from {plan.resume or plan.start.said()}")
        model = build_model(plan, rank)
        trained = optim.trained_modules(train)
        optim.freeze_all_but(model, trained)
        if train.gradient_checkpointing:
            model.checkpoint_activations()
        data = plan_data(plan, model)
        running = engine.prepare(
            model,
            optim.parameter_groups(model, trained),
            train,
            rank,
            accumulation=accumulation(train.global_batch_packs, rank.world_size, train.micro_batch_packs),
            config=read_config(engine_name, settings.workspace),
        )
        position = Position(recipe=plan.recipe)
        if plan.resume is not None:
            saved = Checkpoint(plan.resume)
            running.restore(saved.state(running.shapes()), saved.position.step)
            position = replace(saved.position, recipe=plan.recipe)
        if rank.is_main:
            _prepare_records(plan, data, position.step)
            reporter.info(
                f"{data.total_steps:,} steps of {train.global_batch_packs} packs, {data.corpus.samples:,} samples;"
                f" engine {engine_name}, trained: {', '.join(trained)}"
            )
        running.barrier()
        loop = trainer.Loop(
            run_dir=plan.run_dir,
            description=Description(
                stage=plan.stage,
                step=position.step,
                steps=data.total_steps,
                base=plan.start.base,
                trained=tuple(trained),
                merging=settings.merging.model_dump(mode="json"),
                model=settings.model.model_dump(mode="json"),
                order_hash=position.order_hash,
            ),
            every=settings.checkpoint.every,
            keep=settings.checkpoint.keep,
            warmup_ratio=train.warmup_ratio,
            seed=train.seed,
            # Where tower and projector neither learn nor are sharded, a batch without media needs neither.
            always_encode=running.zero_stage == 3 or bool({"vision_tower", "projector"} & trained.keys()),
            media_limit=MediaLimit(settings.data.max_bad_share, data.samples_in_run, data.part_of_epoch),
            max_loss_jump=train.max_loss_jump,
            held_out=(lambda: data.validation_batches(rank.rank, rank.world_size))
            if len(data.corpus.validation)
            else None,
        )
        steps = data.batches(rank.rank, rank.world_size, start_step=position.step)
        with watchdog(train.watchdog_s, rank.rank, functools.partial(_bark, reporter)) as dog:
            outcome = trainer.train(
                running, steps, data, loop, position, reporter=reporter, dog=dog, stop_asked=lambda: stop.asked
            )
        return outcome, data.total_steps


def build_model(plan: StagePlan, rank: "Rank") -> "AuroraCap":
    """The network in fp32 with the weights that the run's next step starts from."""
    from aurora_cli.export.checkpoint import Origin
    from aurora_cli.export.loading import build_model as build
    from aurora_cli.export.opening import open_checkpoint, open_parts
    from aurora_cli.training import engine

    settings = plan.settings
    root = settings.workspace
    if plan.resume is not None:
        return build(open_checkpoint(plan.resume, Origin(root=root)), settings.merging)
    if plan.start.kind == "models":
        model = settings.model
        parts = open_parts(model.vision_tower, model.language_model, model, root)
        _seed(settings)  # every rank makes the same new projector
        return build(parts, settings.merging, fresh=frozenset({"projector"}))
    if plan.start.kind == "random":
        engine.decided_by_main(lambda: write_initial(plan.run_dir / INITIAL, settings))
        return build(open_checkpoint(plan.run_dir / INITIAL, Origin(root=root)), settings.merging)
    assert isinstance(plan.start.base, str)
    return build(open_checkpoint(plan.start.base, Origin(root=root)), settings.merging)


def write_initial(folder: Path, settings: Settings) -> None:
    """A captioner of random weights in the huggingface layout, made from the model settings; nothing if it is there."""
    if folder.is_dir():
        return
    from aurora_cli.export import names
    from aurora_cli.export.blueprint import llava_config
    from aurora_cli.export.sources import LazyTensor
    from aurora_cli.export.writing import write_weights
    from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig

    model = settings.model
    assert model.vision_config is not None
    assert model.text_config is not None
    values = llava_config(model.vision_config, model.text_config, model).to_dict()
    values |= {
        "architectures": [AuroraCap.__name__],
        "merging": settings.merging.model_dump(mode="json"),
        "image_size": model.image_size,
    }
    _seed(settings)
    network = AuroraCap(AuroraCapConfig.from_dict(values))
    tensors = {}
    for own_name, tensor in network.state_dict().items():
        name = names.canonical(own_name)
        if name is not None:
            tensors[name] = LazyTensor(folder, name, tuple(tensor.shape), tensor.dtype, lambda tensor=tensor: tensor)
    with whole_folder(folder) as partial:
        write_weights(partial, tensors, safe=True, max_shard_bytes=INITIAL_SHARD_BYTES)
        network.config.save_pretrained(partial)


def plan_data(plan: StagePlan, model: "AuroraCap") -> "TrainingData":
    """The run's samples, packed and ordered."""
    from aurora_cli.data.dataset import Source
    from aurora_cli.data.loader import TrainingData
    from aurora_cli.models.merge_plan import frame_tokens

    settings = plan.settings
    for one in plan.data:
        _check_vocabulary(one.folder, model.config.get_text_config().vocab_size)
    size = settings.model.image_size
    counts = model.config.frame_tokens(size, size, settings.merging)
    media_root = settings.train.media_root
    sources = [
        Source(
            folder=one.folder,
            workspace=settings.workspace,
            weight=one.weight,
            media_root=None if media_root is None else settings.workspace / media_root.expanduser(),
        )
        for one in plan.data
    ]
    return TrainingData(
        sources,
        settings,
        frame_tokens=functools.partial(
            frame_tokens, merged=counts.merged, whole=counts.whole, slowfast=settings.merging.slowfast
        ),
        image_token_id=model.config.image_token_id,
    )


def _check_vocabulary(folder: Path, embeddings: int) -> None:
    """
    Raises:
        DataError: the tokenizer of a merged folder has ids that the language model has no embedding for.
    """
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(folder / TOKENIZER)).get_vocab_size(with_added_tokens=False)
    if ids > embeddings:
        raise DataError(
            f"{folder}: its tokenizer has {ids:,} ids, the language model {embeddings:,} embeddings",
            hint="Tokenize with the language model's own: aurora tokenize --tokenizer DIR --force",
        )


def _prepare_records(plan: StagePlan, data: "TrainingData", step: int) -> None:
    """Cut the lines back to the checkpoint; a new run begins its rejects with what no pack holds."""
    from aurora_cli.training.records import METRICS_FILE, append_lines, cut_back

    for name in (METRICS_FILE, REJECTS_FILE):
        cut_back(plan.run_dir / name, step if plan.resume is not None else -1)
    if plan.resume is None:
        lines: Iterator[dict] = ({"step": 0, **rejected} for rejected in data.corpus.rejections())
        append_lines(plan.run_dir / REJECTS_FILE, list(lines))


def _seed(settings: Settings) -> None:
    import torch

    torch.manual_seed(settings.train.seed)


def _bark(reporter: Reporter, error: HostError) -> None:
    """Called in the watchdog's thread: the process cannot be ended politely."""
    from aurora_cli.training.worker import PipeReporter, leave

    if isinstance(reporter, PipeReporter):
        reporter.fail(error)
    else:
        os.write(2, f"error: {error}\n".encode())
    leave(error.exit_code)
