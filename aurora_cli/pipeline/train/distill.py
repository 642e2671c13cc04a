"""Whether a stage can learn its small kept ratios from a large one."""

from aurora_cli.config.settings import Settings
from aurora_cli.errors import UsageError


def check_distill(settings: Settings) -> None:
    """
    Raises:
        UsageError: `train.distill_ratio` is none of the stage's kept ratios, or none is smaller.
    """
    wanted, ratios = settings.train.distill_ratio, settings.merging.mixture.ratios
    if wanted is None or wanted in ratios[1:]:
        return
    stage = settings.train.stage
    if len(ratios) == 1:
        raise UsageError(
            f"train.distill_ratio: stage {stage!r} trains at one kept ratio, {ratios[0]:g}; small ones learn from a"
            " large one in a mixture",
            hint=f"--token-kept-ratio '{{ratios: [0.1, 0.5, {wanted:g}]}}', or leave it out.",
        )
    listed = ", ".join(f"{ratio:g}" for ratio in ratios)
    why = "is the smallest, which no other learns from" if wanted == ratios[0] else "is none of them"
    raise UsageError(
        f"train.distill_ratio: stage {stage!r} trains at the kept ratios {listed}; {wanted:g} {why}",
        hint=f"--set train.distill_ratio={ratios[-1]:g}",
    )
