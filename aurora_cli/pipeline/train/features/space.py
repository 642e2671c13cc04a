"""What the features of a run are of: its tower, and how frames come to it."""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from aurora_cli import __version__
from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.config.settings import Settings
from aurora_cli.data.features.space import FeatureSpace
from aurora_cli.errors import UsageError
from aurora_cli.pipeline.train.build_model import Network
from aurora_cli.training.engine.deepspeed_config import resolved_precision

TOWER_FACTS = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "patch_size",
    "image_size",
    "hidden_act",
    "layer_norm_eps",
)
"""Of a tower's config: what it computes with its weights."""

DROPOUTS = ("attention_dropout", "attention_probs_dropout_prob", "hidden_dropout_prob", "drop_path_rate")
"""Of a tower's config: what leaves out something else every time."""

PACKAGES = ("torch", "transformers", "pillow", "av", "decord2")
"""That decode, resize and compute: another version may give another last bit, or mend a decoder."""


def feature_space(settings: Settings, network: Network) -> FeatureSpace:
    """What the run's features are of. Reads the tower's weights once.

    Raises:
        UsageError: the tower gives other features every time.
    """
    config = network.model.config
    facts: Any = config.vision_config
    for dropout in DROPOUTS:
        if share := getattr(facts, dropout, 0.0):
            raise UsageError(
                f"train.cache_features: the vision tower has {dropout} {share} in its config, so that it gives"
                " other features every time in training",
                hint=f"Leave it out, or set {dropout} to 0 in the tower's config.json.",
            )
    cuda = torch.cuda.is_available()
    return FeatureSpace(
        tower=tower_digest(network.source),
        tower_config={name: getattr(facts, name, None) for name in TOWER_FACTS},
        layers=config.tower_layers,
        image_size=settings.model.image_size,
        image_mean=settings.model.image_mean,
        image_std=settings.model.image_std,
        merging=settings.merging.largest,
        precision=resolved_precision(settings.train.precision, cuda=cuda),
        width=facts.hidden_size,
        device="cuda" if cuda else "cpu",
        versions={"aurora": __version__} | {name: _version(name) for name in PACKAGES},
    )


def tower_digest(opened: OpenedCheckpoint) -> str:
    """Over the tower's weights as they are in memory: the same in whatever file, under whatever spelling of names."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(opened.tensors):
        if name.startswith(names.VISION):
            tensor = opened.tensors[name].cast(torch.float32)
            digest.update(f"{name} {[*tensor.shape]}".encode())
            for piece in tensor.pieces():
                digest.update(memoryview(piece.contiguous().numpy()))  # pyrefly: ignore[bad-argument-type] - an array is a buffer
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
