"""What peft computes with an adapter: the adapted model itself, not merged, to hold a merged one to.

An adapter of the whole captioner is put on ours; one of a language model alone on ours, in the class it was made for.
"""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from aurora_cli.checkpoints.adapters.merging import WEIGHT_FILES
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.loading import build_model
from aurora_cli.checkpoints.weight_files import open_weights
from aurora_cli.models.auroracap import AuroraCap

_OF_THE_WHOLE = ("language_model.", "vision_tower.", "multi_modal_projector.")
_MISSING = "missing adapter keys"
"""In peft's warning where a part of the adapter found no module."""


def adapted_by_peft(base: OpenedCheckpoint, folder: Path) -> AuroraCap | None:
    """`base` with the adapter of peft's `folder`; none where peft is not there, or cannot put it on this model."""
    if find_spec("peft") is None:
        return None
    from peft import PeftModel

    model = build_model(base)
    of_whole = any(part in name for name in _tensors(folder) for part in _OF_THE_WHOLE)
    wrapped: Any = model if of_whole else _language_model(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            PeftModel.from_pretrained(wrapped, str(folder))
        except (ValueError, RuntimeError, KeyError, TypeError, ImportError):  # each kind that does not fit, another one
            return None
    if any(_MISSING in str(one.message) for one in caught):
        return None
    if not of_whole:
        model.lm_head = wrapped.lm_head
    return model.eval()


def _tensors(folder: Path) -> list[str]:
    file = next(folder / name for name in WEIGHT_FILES if (folder / name).is_file())
    return list(open_weights(file))


def _language_model(model: AuroraCap) -> torch.nn.Module:
    """The language model in its own class, made of the very modules of `model`."""
    with torch.device("meta"):
        shell: Any = AutoModelForCausalLM.from_config(model.config.get_text_config())
    shell.model, shell.lm_head = model.model.language_model, model.lm_head
    return shell
