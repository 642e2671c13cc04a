"""What keeping the features of a frozen tower takes of the disk, and saves."""

import numpy as np

from aurora_cli.config.settings import Settings
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.data.features.room import limit_of
from aurora_cli.data.features.space import FeatureForm
from aurora_cli.data.token_store.store import open_store
from aurora_cli.pipeline.train.estimate.network import Flops
from aurora_cli.pipeline.train.estimate.result import FeatureEstimate
from aurora_cli.pipeline.train.features.check import features_folder


def estimate_features(data: TrainingData, settings: Settings, form: FeatureForm, flops: Flops) -> FeatureEstimate:
    """What the stage's features come to."""
    folder = features_folder(settings)
    return FeatureEstimate(
        bytes=_tokens(data) * form.token_bytes,
        limit=limit_of(folder, settings.train.cache_features_gb),
        folder=str(folder),
        tower_flops=flops.tower,
        other_flops=flops.language,
    )


def _tokens(data: TrainingData) -> int:
    """Visual tokens of the media of all samples, trained on or measured on; a lone image that samples share counts
    once."""
    corpus, tokens = data.corpus, 0
    used = np.concatenate([*corpus.trained, corpus.validation])
    for store, start, end in zip(corpus.stores, corpus.starts[:-1], corpus.starts[1:], strict=True):
        local = used[(used >= start) & (used < end)] - start
        opened = open_store(store.folder)
        summary, keys = opened.summary(), opened.media_keys()
        is_lone = (summary.frames[local] == 1) & (summary.videos[local] == 0)
        _, firsts = np.unique(keys.keys[keys.offsets[local[is_lone]]], return_index=True)
        counted = np.concatenate([local[~is_lone], local[is_lone][firsts]])
        tokens += int(data.reader.token_counts.in_all(summary.frames[counted], summary.videos[counted]).sum())
    return tokens
