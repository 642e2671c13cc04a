"""What a run needs to keep features: where they are looked for, and who keeps them."""

from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import Settings
from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.features.cache import FeatureCache
from aurora_cli.data.features.room import bytes_in, limit_of
from aurora_cli.data.features.space import FeatureSpace
from aurora_cli.data.features.writer import seal_left_over
from aurora_cli.errors import HostError
from aurora_cli.pipeline.train.build_model import Network
from aurora_cli.pipeline.train.features.keeper import FeatureKeeper
from aurora_cli.pipeline.train.features.sharing import Shared
from aurora_cli.pipeline.train.features.space import feature_space
from aurora_cli.training.processes.collectives import broadcast_from_rank0, gather
from aurora_cli.training.processes.ranks import Rank


class KeptFeatures(NamedTuple):
    """Of one process."""

    cache: FeatureCache
    """For the loader's workers."""
    keeper: FeatureKeeper


class _Opened(NamedTuple):
    folder: Path
    room: int
    """Bytes that all processes there may write together."""
    message: str
    """What lies there, in words."""


def open_features(
    settings: Settings, network: Network, rank: Rank, shared: Shared, reporter: Reporter
) -> KeptFeatures | None:
    """The features of the run; none: it keeps none, or cannot. All processes call it together.

    Raises:
        UsageError: the tower gives other features every time.
    """
    if not settings.train.cache_features:
        return None
    space = broadcast_from_rank0(lambda: feature_space(settings, network))
    is_first = rank.rank == shared.ranks[0]
    found = gather(lambda: _open(settings, space, shared.features) if is_first else None)
    reasons = [one for one in found if isinstance(one, str)]
    if reasons:
        if rank.is_main:
            reporter.warning(f"features are not kept: {reasons[0]}")
        return None
    opened = found[shared.ranks[0]]
    assert isinstance(opened, _Opened)
    if rank.is_main:
        reporter.info(opened.message)
    size = settings.model.image_size
    counts = network.model.config.frame_token_counts(size, size, settings.merging.largest)
    keeper = FeatureKeeper(
        FeatureCache(opened.folder, space.form),
        counts,
        opened.room // len(shared.ranks),
        reporter if rank.is_main else SILENT,
    )
    return KeptFeatures(FeatureCache(opened.folder, space.form), keeper)


def _open(settings: Settings, space: FeatureSpace, features: Path) -> "_Opened | str":
    """On one process of those that share it: the folder, made if need be, with what a killed run left in it sealed; or
    why there is none."""
    try:
        folder = space.folder_in(features)
    except HostError as error:
        return str(error)
    seal_left_over(folder)
    limit, used, own = limit_of(features, settings.train.cache_features_gb), bytes_in(features), bytes_in(folder)
    message = (
        f"features: {folder} has {own / 1e9:,.2f} GB; {(used - own) / 1e9:,.2f} GB of other towers or settings lie"
        f" beside it; limit {limit / 1e9:,.2f} GB"
    )
    return _Opened(folder, max(0, limit - used), message)
