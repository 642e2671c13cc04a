"""The samples that a stage trains on, packed and ordered, at the lengths that its network gives them."""

from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.data.batches.collator import TokenCounts
from aurora_cli.data.batches.corpus import WeightedStore
from aurora_cli.data.batches.mixture import StepRatio
from aurora_cli.data.batches.selection import PackBudget
from aurora_cli.data.batches.shared_plan import PlanShare
from aurora_cli.data.batches.training_data import BatchPlan, TrainingData
from aurora_cli.data.batches.validation import ValidationBy
from aurora_cli.data.features.cache import FeatureCache
from aurora_cli.data.media.decoders.sampling import Sampling
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.io.urls import is_url
from aurora_cli.models.auroracap import AuroraCapConfig
from aurora_cli.pipeline.train.plan import StagePlan


def plan_data(
    plan: StagePlan, config: AuroraCapConfig, share: PlanShare | None = None, features: FeatureCache | None = None
) -> TrainingData:
    """The run's samples, packed and ordered; `share` lets one process of several plan for all, `features` are read
    instead of pixels."""

    settings = plan.settings
    media_root = _media_root(settings)
    trained, validation = (
        [
            WeightedStore(
                folder=one.folder,
                workspace=settings.workspace,
                weight=one.weight,
                media_root=media_root,
            )
            for one in folders
        ]
        for folders in (plan.data, plan.validation)
    )
    return TrainingData(
        trained,
        batch_plan(settings, plan.validation_by),
        validation=validation,
        token_counts=token_counts_of(settings, config),
        image_token_id=config.image_token_id,
        share=share,
        features=features,
    )


def check_media_root(settings: Settings) -> None:
    """Find out what keeps media in a bucket from being read, before weights are.

    Raises:
        DataError: there is no such bucket, or no such tar with its index.
        HostError: the store cannot be reached, or does not let us.
    """
    if isinstance(root := _media_root(settings), str):
        MediaRoot(root)


def _media_root(settings: Settings) -> Path | str | None:
    """Where media are looked up, if not beside their annotations."""
    root = settings.train.media_root
    if root is None or is_url(root):
        return root
    return Workspace(settings.workspace).path(root)


def token_counts_of(settings: Settings, config: AuroraCapConfig) -> TokenCounts | list[StepRatio]:
    """What frames become at the run's kept ratio; of a mixture, at each of them."""
    size, merging = settings.model.image_size, settings.merging
    counts = [config.frame_token_counts(size, size, one) for one in merging.mergings]
    if len(counts) == 1:
        return counts[0]
    return [StepRatio(*each) for each in zip(merging.mergings, counts, merging.mixture.shares, strict=True)]


def batch_plan(settings: Settings, validation_by: ValidationBy = "medium") -> BatchPlan:
    """What of the settings decides a run's batches."""

    model, train, data = settings.model, settings.train, settings.data
    return BatchPlan(
        budget=PackBudget(train.pack_tokens, train.pack_frames),
        image_size=model.image_size,
        image_mean=model.image_mean,
        image_std=model.image_std,
        global_batch_packs=train.global_batch_packs,
        micro_batch_packs=train.micro_batch_packs,
        batching=data.batching,
        too_long=data.too_long,
        validation_share=data.validation_share,
        validation_by=validation_by,
        epochs=train.epochs,
        max_steps=train.max_steps,
        seed=train.seed,
        sampling=Sampling(data.frame_sampling, data.fps),
        workers=data.workers,
        distill_ratio=train.distill_ratio,
    )
