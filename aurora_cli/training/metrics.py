"""A step's numbers as a line of metrics.jsonl, and in a few words."""

import math
import resource

import torch

from aurora_cli.config.merging import TokenMerging
from aurora_cli.runs.lines import CAPTION_SCORES, MetricsLine
from aurora_cli.runs.metadata import EvaluationScore, Measured, ValidationScore
from aurora_cli.training.step import StepResult, ValidationResult


def metrics_line(
    step: int, epoch: float, lr: float, result: StepResult, seconds: float, merging: TokenMerging | None
) -> MetricsLine:
    """What a step came to that took `seconds`, reading included, at the rate `lr`; `epoch` is where the data are;
    `merging` is the step's own, in a mixture."""
    totals = result.totals
    return MetricsLine(
        step=step,
        epoch=round(epoch, 6),
        loss=result.loss,
        lr=lr,
        grad_norm=result.grad_norm if math.isfinite(result.grad_norm) else None,
        samples=totals.samples,
        tokens=totals.tokens,
        target_tokens=totals.target,
        visual_tokens=totals.visual,
        fill=round(totals.tokens / totals.positions, 6),
        step_s=round(seconds, 6),
        tokens_per_s=round(totals.tokens / seconds, 3),
        max_mem_mb=round(_max_memory_mb(), 1),
        kept_ratio=None if merging is None else merging.kept_ratio,
        distill_loss=result.divergence,
    )


def with_validation(line: MetricsLine, result: ValidationResult) -> MetricsLine:
    return line.model_copy(
        update={
            "validation_loss": result.loss,
            "validation_samples": result.totals.samples,
            "validation_target_tokens": result.totals.target,
            "validation_loss_by_ratio": {f"{ratio:g}": loss for ratio, loss in result.loss_by_ratio.items()} or None,
        }
    )


def with_validation_at_start(line: MetricsLine, loss: float) -> MetricsLine:
    """`loss` is that of the validation samples before the first step."""
    return line.model_copy(update={"validation_loss_at_start": loss})


def measured(line: MetricsLine) -> Measured:
    """What a checkpoint keeps of its step's line."""
    scores = {name: getattr(line, name) for name in CAPTION_SCORES}
    return Measured(
        loss=line.loss if math.isfinite(line.loss) else None,
        validation=_validation_score(line),
        evaluation=None
        if line.evaluated_captions is None
        else EvaluationScore(captions=line.evaluated_captions, **scores),
    )


def _validation_score(line: MetricsLine) -> ValidationScore | None:
    """Of the validation after the step; none: there was none."""
    loss, samples, target_tokens = line.validation_loss, line.validation_samples, line.validation_target_tokens
    if loss is None or samples is None or target_tokens is None or not math.isfinite(loss):
        return None
    return ValidationScore(loss=loss, samples=samples, target_tokens=target_tokens)


def note_of(line: MetricsLine) -> str:
    """A step's line of metrics in a few words."""
    validation = "" if line.validation_loss is None else f" (validation {line.validation_loss:.4f})"
    at_ratio = "" if line.kept_ratio is None else f" at kept ratio {line.kept_ratio:g}"
    cider = "" if line.cider is None else f", {CAPTION_SCORES['cider']} {line.cider:.4f}"
    return (
        f"loss {line.loss:.4f}{at_ratio}{validation}{cider}, lr {line.lr:.3g}, {line.tokens_per_s:,.0f} tokens/s,"
        f" {line.fill:.0%} full, {line.max_mem_mb / 1024:,.1f} GB"
    )


def _max_memory_mb() -> float:
    """The most memory held so far: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
