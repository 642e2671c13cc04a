"""Where model, data and training meet: what every process of a run builds, restores and trains."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from aurora_cli.config.merging import MergingSettings
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.data.batches.sampler import accumulation
from aurora_cli.data.batches.shared_plan import PlanShare
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.io.atomic import remove
from aurora_cli.pipeline.train.build_data import check_media_root, plan_data
from aurora_cli.pipeline.train.build_model import Network, build_network
from aurora_cli.pipeline.train.data_folders import unmeasured
from aurora_cli.pipeline.train.features.keeper import FeatureCounts, FeatureKeeper
from aurora_cli.pipeline.train.features.kept import open_features
from aurora_cli.pipeline.train.features.sharing import open_shared
from aurora_cli.pipeline.train.new_projector import FRAMES
from aurora_cli.pipeline.train.plan import StagePlan
from aurora_cli.pipeline.train.run_callbacks import Running, callbacks_of
from aurora_cli.pipeline.train.sample_lengths import check_positions
from aurora_cli.runs.metadata import CheckpointMetadata, TrainedFolder, TrainState
from aurora_cli.training.callbacks.callback import Callbacks
from aurora_cli.training.checkpoint import TrainingCheckpoint
from aurora_cli.training.engine import engine, zero_loading
from aurora_cli.training.engine.deepspeed_config import engine_name, read_config
from aurora_cli.training.engine.engine import Engine
from aurora_cli.training.guards import Guards, MediaLimit
from aurora_cli.training.optim import parameter_groups
from aurora_cli.training.processes.collectives import broadcast_from_rank0
from aurora_cli.training.processes.peers import Peers
from aurora_cli.training.processes.ranks import Rank
from aurora_cli.training.processes.watchdog import Watchdog
from aurora_cli.training.processes.worker import end_from_thread
from aurora_cli.training.run_folder import RunFolder
from aurora_cli.training.step import Distillation
from aurora_cli.training.trainer import LoopOptions, LoopResult, Trainer


@dataclass(frozen=True)
class Run:
    """A stage on one of its processes, ready to train."""

    trainer: Trainer
    watchdog: Watchdog
    state: TrainState
    """What it goes on from."""
    plans: PlanShare | None = None
    """None: one process plans for itself."""
    keeper: FeatureKeeper | None = None
    """None: no features are kept."""

    @property
    def steps(self) -> int:
        return self.trainer.source.total_steps

    def train(self) -> LoopResult:
        """Train to the last step.

        Raises:
            Interrupted: a stop was requested; the state is saved.
            DataError: the run must not go on.
        """
        with self.watchdog:
            result = self.trainer.train(self.state)
        if self.plans is not None and self.plans.writes:
            remove(self.plans.folder)
        return result

    def feature_counts(self) -> FeatureCounts | None:
        """What became of the media over all ranks, which call it together; none: no features are kept."""
        return None if self.keeper is None else self.keeper.counts(self.trainer.engine)


def build_run(plan: StagePlan, rank: Rank, peers: Peers, reporter: Reporter, stop_requested: Callable[[], bool]) -> Run:
    """Build a stage's network and data, wrap and restore them, and make its folder ready. All ranks call it together.

    Raises:
        DataError: weights or data are missing or damaged, or do not fit each other.
        UsageError: the settings cannot be trained with on these processes.
    """
    if rank.is_main:
        reporter.info(f"weights from {plan.resume or plan.start.name}")
        if plan.fits_projector:
            reporter.info(f"the new projector is fitted to {FRAMES} frames of the data (train.projector_start)")
    broadcast_from_rank0(lambda: check_media_root(plan.settings))
    shared = open_shared(plan, rank)
    network, running = _wrapped_network(plan, rank)
    kept = open_features(plan.settings, network, rank, shared, reporter)
    data = plan_data(plan, network.model.config, shared.plans, None if kept is None else kept.cache)
    warning = check_positions(data, network.model.config)
    state = _restored_state(plan, running)
    folder = RunFolder(
        plan.run_dir, _metadata(plan, network, data), keep=plan.settings.checkpoint.keep, is_main=rank.is_main
    )
    folder.begin_after(plan.resume_step, data.corpus.rejections())
    if plan.resume_step is None:
        folder.add_rejected(data.corpus.rejections(validation=True), step=0, validation=True)
    if rank.is_main:
        _announce(plan, rank, network, data, reporter)
        if warning is not None:
            reporter.warning(warning)
    running.barrier()
    settings = plan.settings
    watchdog = Watchdog(settings.train.watchdog_s, rank.rank, functools.partial(end_from_thread, reporter), peers.lost)
    keepers = () if kept is None else (kept.keeper,)
    trainer = Trainer(
        engine=running,
        source=data,
        folder=folder,
        options=_loop_options(settings, network, running),
        guards=Guards(
            MediaLimit(settings.data.max_bad_share, data.samples_in_run, data.part_of_epoch),
            settings.train.max_loss_jump,
        ),
        callback=Callbacks([watchdog, *keepers, *callbacks_of(Running(plan, running, data, state.step, reporter))]),
        reporter=reporter,
        stop_requested=stop_requested,
    )
    return Run(trainer, watchdog, state, shared.plans, *keepers)


def _wrapped_network(plan: StagePlan, rank: Rank) -> tuple[Network, Engine]:
    """The network with the weights that its next step starts from, and the engine around it."""
    train = plan.settings.train
    accumulated = accumulation(train.global_batch_packs, rank.world_size, train.micro_batch_packs)
    config = read_config(engine_name(train, rank.world_size), plan.settings.workspace)
    assign = zero_loading.assign_for(train, rank, accumulation=accumulated, config=config)
    network = build_network(plan, assign)
    groups = parameter_groups(network.parameters, network.trained)
    width = network.model.config.get_text_config().hidden_size
    return network, engine.prepare(
        network.model, groups, train, rank, accumulation=accumulated, config=config, hidden_size=width
    )


def _restored_state(plan: StagePlan, running: Engine) -> TrainState:
    """Where the run goes on; the optimizer gets its moments back."""
    if plan.resume is None:
        return TrainState(recipe=plan.recipe)
    saved = TrainingCheckpoint(plan.resume)
    running.restore(saved.parameters(running.shapes()), saved.state.step)
    return saved.state.model_copy(update={"recipe": plan.recipe})


def _metadata(plan: StagePlan, network: Network, data: TrainingData) -> CheckpointMetadata:
    return CheckpointMetadata(
        stage=plan.stage,
        step=0,
        steps=data.total_steps,
        base=plan.start.base,
        trained=tuple(network.trained),
        merging=plan.settings.merging.largest,
        trained_ratios=plan.settings.merging.trained_ratios,
        model=plan.settings.model,
        order_hash="",
        lora={**network.adapters},
        quantize_base=plan.settings.train.quantize_base,
        keep_best=plan.settings.checkpoint.keep_best,
        validation_folders=tuple(
            TrainedFolder(Workspace(plan.settings.workspace).relative(one.folder), one.weight, one.rows)
            for one in plan.validation
        ),
    )


def _loop_options(settings: Settings, network: Network, running: Engine) -> LoopOptions:
    return LoopOptions(
        every=settings.checkpoint.every,
        warmup_ratio=settings.train.warmup_ratio,
        seed=settings.train.seed,
        # Where tower and projector are neither trained nor sharded, a batch without media needs neither.
        always_encode=running.zero_stage == 3 or bool({"vision_tower", "projector"} & network.trained.keys()),
        ratio_shares=_ratio_shares(settings.merging),
        distillation=Distillation(settings.train.distill_weight, settings.train.distill_temperature),
    )


def _ratio_shares(merging: MergingSettings) -> dict[float, float]:
    return dict(zip(merging.trained_ratios, merging.mixture.shares, strict=False))


def _announce(plan: StagePlan, rank: Rank, network: Network, data: TrainingData, reporter: Reporter) -> None:
    train = plan.settings.train
    packs = "a pack" if train.global_batch_packs == 1 else f"{train.global_batch_packs:,} packs"
    reporter.info(
        f"{data.total_steps:,} steps of {packs}, {data.corpus.samples:,} samples;"
        f" engine {engine_name(train, rank.world_size)}, trained: {', '.join(network.trained)}"
    )
    for note in (*data.notes(), *_validation_notes(plan)):
        reporter.info(note)


def _validation_notes(plan: StagePlan) -> list[str]:
    settings = plan.settings
    workspace = Workspace(settings.workspace)
    return [
        *(f"validation: {one.rows:,} samples of {workspace.relative(one.folder)}" for one in plan.validation),
        *unmeasured(settings, workspace),
    ]
