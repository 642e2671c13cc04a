"""From a folder with weights to a captioner: `aurora_cli.load_captioner`."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.options import CaptionOptions, is_foreign, options_of
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.loading import build_model, resolve_device, spread
from aurora_cli.checkpoints.locate import locate
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.preparing import TokenizeSettings
from aurora_cli.config.training import DataSettings
from aurora_cli.config.using import CaptionSettings
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.errors import DataError
from aurora_cli.io.machine import cpu_flags
from aurora_cli.models.layers.few_rows import read_few_rows_fast

_MULTIPLIES = {"bfloat16": ("amx_bf16", "avx512_bf16"), "float16": ("amx_fp16", "avx512_fp16")}
"""Flags of the x86 processors that multiply numbers of a type as fast as float32. On others oneDNN takes for a product
of 512 rows and 1,024 x 4,096 weights 5 to 10 times as long (`ONEDNN_MAX_CPU_ISA=AVX512_CORE`, `AVX2`)."""


def load_captioner(
    path: str | Path,
    *,
    token_merging: TokenMerging | None = None,
    tokenizer: str | Path | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device = "auto",
    device_map: Literal["auto", "balanced", "sequential"] | None = None,
) -> Captioner:
    """Load a captioner with all that `aurora caption` uses: tokenizer, template, frames of a video, merging.

    Example:
        import aurora_cli

        merging = aurora_cli.TokenMerging(kept_ratio=0.5, slowfast=True)
        captioner = aurora_cli.load_captioner("export/huggingface", token_merging=merging, device="cpu")
        (result,) = captioner.caption(["held-out/images/0000.png"])
        print(result.caption)

    Args:
        path: an xtuner, huggingface or official folder, a run or a checkpoint, or a repository on the hub.
        token_merging: how visual tokens merge; none: as stored with the weights.
        tokenizer: folder or hub id; none: the model's own.
        dtype: of the weights in memory: `float32`, `bfloat16`, `float16`; none: bfloat16 on CUDA, else float32.
        device: `cpu`, `cuda`, `cuda:1`, or `auto` for CUDA where there is one.
        device_map: spread the model over all devices, as accelerate does it; none: all of it on `device`.

    Raises:
        DataError: the folder is damaged, or its tokenizer is not known.
        UsageError: there is no such device or dtype.
    """
    checkpoint = open_checkpoint(path)
    if tokenizer is not None:
        checkpoint = replace(checkpoint, tokenizer=str(tokenizer))
    options = options_of(checkpoint, CaptionSettings(), TokenizeSettings(), DataSettings())
    if token_merging is not None:
        options = options._replace(merging=token_merging)
    return build_captioner(checkpoint, options, dtype=dtype, device=device, device_map=device_map)


def build_captioner(
    checkpoint: OpenedCheckpoint,
    options: CaptionOptions,
    *,
    root: Path | None = None,
    fallback_tokenizer: str | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device = "auto",
    device_map: Literal["auto", "balanced", "sequential"] | None = None,
) -> Captioner:
    """The captioner of an opened checkpoint.

    Relative names start at `root` (the workspace); `fallback_tokenizer` is taken where the checkpoint has none.

    Raises:
        DataError: the checkpoint is damaged, or its tokenizer is not known.
        UsageError: there is no such device or dtype, or the kept ratio cannot be reached.
    """
    tokenizer = checkpoint.tokenizer or fallback_tokenizer
    if tokenizer is None:
        hint = "Name one: --set model.tokenizer=DIR; in Python load_captioner(..., tokenizer=DIR)."
        raise DataError(f"{checkpoint.path}: has no tokenizer", hint=hint)
    text_tokenizer = load_tokenizer(locate(tokenizer, root))
    target = resolve_device(device)
    dtype = dtype or ("bfloat16" if target.type == "cuda" else "float32")
    if device_map is None:
        model = build_model(checkpoint, options.merging, dtype, target)
    else:
        model = spread(build_model(checkpoint, options.merging, dtype), device_map)
    read_few_rows_fast(model.model.language_model, model.lm_head)
    return Captioner(
        model,
        text_tokenizer,
        checkpoint.model,
        options,
        is_foreign=is_foreign(checkpoint),
        trained_ratios=checkpoint.trained_ratios,
    )


def slow_dtype(captioner: Captioner, flags: frozenset[str] | None = None) -> str | None:
    """A warning, where the weights have a type that this machine's processor is slow in. `flags`: the processor's."""
    multiplies = _MULTIPLIES.get(captioner.dtype)
    if captioner.model.device.type != "cpu" or multiplies is None:
        return None
    flags = cpu_flags() if flags is None else flags
    if not flags or flags.intersection(multiplies):
        return None
    return (
        f"this CPU has no instructions for {captioner.dtype} (neither {' nor '.join(multiplies)} in /proc/cpuinfo):"
        " it may take 5 to 10 times as long as float32, which is what it computes in without --dtype"
    )
