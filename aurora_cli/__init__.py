"""From the published AuroraCap training set to a video captioner that runs in plain transformers.

This is the public Python API, and all of it: every other module of the package is internal, and may change in any
version. Importing it is cheap: each name is imported, torch with it, when it is first used.

Example:
    import aurora_cli

    captioner = aurora_cli.load_captioner("export/huggingface")
    for result in captioner.caption(["held-out/images/0000.png", "clip.mp4"]):
        print(result.media, result.caption)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aurora_cli.captioning.captioner import Captioner
    from aurora_cli.captioning.inputs import Media
    from aurora_cli.captioning.loading import load_captioner
    from aurora_cli.captioning.result import Caption, Uncaptioned
    from aurora_cli.checkpoints.loading import load_model
    from aurora_cli.config.merging import TokenMerging
    from aurora_cli.data.download.origin import Origin
    from aurora_cli.data.download.origins import recorded_origins
    from aurora_cli.data.token_store.store import Row, Summary, TokenStore, open_store
    from aurora_cli.errors import AuroraError, DataError, HostError, UsageError
    from aurora_cli.models.merge_plan import num_visual_tokens

__version__ = "0.1.0"
__all__ = [
    "AuroraError",
    "Caption",
    "Captioner",
    "DataError",
    "HostError",
    "Media",
    "Origin",
    "Row",
    "Summary",
    "TokenMerging",
    "TokenStore",
    "Uncaptioned",
    "UsageError",
    "__version__",
    "load_captioner",
    "load_model",
    "num_visual_tokens",
    "open_store",
    "recorded_origins",
]

HOMES: Final = {
    "AuroraError": "aurora_cli.errors",
    "Caption": "aurora_cli.captioning.result",
    "Captioner": "aurora_cli.captioning.captioner",
    "DataError": "aurora_cli.errors",
    "HostError": "aurora_cli.errors",
    "Media": "aurora_cli.captioning.inputs",
    "Origin": "aurora_cli.data.download.origin",
    "Row": "aurora_cli.data.token_store.store",
    "Summary": "aurora_cli.data.token_store.store",
    "TokenMerging": "aurora_cli.config.merging",
    "TokenStore": "aurora_cli.data.token_store.store",
    "Uncaptioned": "aurora_cli.captioning.result",
    "UsageError": "aurora_cli.errors",
    "load_captioner": "aurora_cli.captioning.loading",
    "load_model": "aurora_cli.checkpoints.loading",
    "num_visual_tokens": "aurora_cli.models.merge_plan",
    "open_store": "aurora_cli.data.token_store.store",
    "recorded_origins": "aurora_cli.data.download.origins",
}
"""Public name -> the module that it is imported from when it is first used."""


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
