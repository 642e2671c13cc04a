"""aurora: from the published AuroraCap training set to a video captioner that runs in plain transformers.

The public Python API. Importing it is cheap: each name is imported when it is first used.

    import aurora_cli
    merging = aurora_cli.TokenMerging(kept_ratio=0.1)
    model = aurora_cli.load_model("export/huggingface", token_merging=merging)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aurora_cli.checkpoints.loading import load_model
    from aurora_cli.config.merging import TokenMerging
    from aurora_cli.models.merge_plan import num_visual_tokens

__version__ = "0.1.0"
__all__ = ["TokenMerging", "__version__", "load_model", "num_visual_tokens"]

_HOMES = {
    "TokenMerging": "aurora_cli.config.merging",
    "load_model": "aurora_cli.checkpoints.loading",
    "num_visual_tokens": "aurora_cli.models.merge_plan",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
