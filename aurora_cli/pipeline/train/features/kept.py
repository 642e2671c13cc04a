"""What a run needs to keep features: where they are looked for, and who keeps them."""

from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.features.cache import FeatureCache
from aurora_cli.data.features.room import bytes_in, limit_of
from aurora_cli.data.features.space import FeatureForm
from aurora_cli.data.features.writer import seal_left_over
from aurora_cli.errors import HostError
from aurora_cli.pipeline.train.build_model import Network
from aurora_cli.pipeline.train.features.keeper import FeatureKeeper
from aurora_cli.pipeline.train.features.space import feature_space
from aurora_cli.training.processes.collectives import broadcast_from_rank0
from aurora_cli.training.processes.ranks import Rank


class KeptFeatures(NamedTuple):
    """Of one process."""

    cache: FeatureCache
    """For the loader's workers."""
    keeper: FeatureKeeper


class _Opened(NamedTuple):
    folder: Path
    form: FeatureForm
    room: int
    """Bytes that all processes may write together."""


def open_features(settings: Settings, network: Network, rank: Rank, reporter: Reporter) -> KeptFeatures | None:
    """The features of the run; none: it keeps none, or cannot. All processes call it together.

    Raises:
        UsageError: the tower gives other features every time.
    """
    if not settings.train.cache_features:
        return None
    opened = broadcast_from_rank0(lambda: _open(settings, network, reporter))
    if opened is None:
        return None
    size = settings.model.image_size
    counts = network.model.config.frame_token_counts(size, size, settings.merging.largest)
    keeper = FeatureKeeper(
        FeatureCache(opened.folder, opened.form),
        counts,
        opened.room // rank.world_size,
        reporter if rank.is_main else SILENT,
    )
    return KeptFeatures(FeatureCache(opened.folder, opened.form), keeper)


def _open(settings: Settings, network: Network, reporter: Reporter) -> _Opened | None:
    """On one process: the folder, made if need be, with what a killed run left in it sealed."""
    features = Workspace(settings.workspace).features
    space = feature_space(settings, network)
    try:
        folder = space.folder_in(features)
    except HostError as error:
        reporter.warning(f"features are not kept: {error}")
        return None
    seal_left_over(folder)
    limit, used, own = limit_of(features, settings.train.cache_features_gb), bytes_in(features), bytes_in(folder)
    reporter.info(
        f"features: {folder} has {own / 1e9:,.2f} GB; {(used - own) / 1e9:,.2f} GB of other towers or settings lie"
        f" beside it; limit {limit / 1e9:,.2f} GB"
    )
    return _Opened(folder, space.form, max(0, limit - used))
