"""`aurora presets`: which presets there are, and what each of their stages trains."""

from dataclasses import dataclass

from aurora_cli.config.presets import load_preset, preset_names
from aurora_cli.config.resolve import resolve
from aurora_cli.config.settings import Settings
from aurora_cli.console import SILENT, Reporter
from aurora_cli.models.parts import Part
from aurora_cli.pipeline.result import Result

PARTS: tuple[Part, ...] = ("projector", "vision_tower", "language_model")
"""In the order that stages begin to train them."""


@dataclass(frozen=True)
class StageSummary:
    """What a stage of a preset does, in the words of its settings."""

    stage: str
    after: str | None
    trains: dict[str, float]
    """Part -> peak learning rate."""
    kept_ratio: float
    packs_a_step: int
    pack_tokens: int
    length: str


@dataclass(frozen=True)
class PresetsResult(Result):
    presets: dict[str, list[StageSummary]]

    def lines(self) -> list[str]:
        lines = []
        for name, stages in self.presets.items():
            lines.append(name)
            for stage in stages:
                trains = ", ".join(f"{part} at {rate:g}" for part, rate in stage.trains.items())
                start = f"from {stage.after}" if stage.after else "from the preset's models"
                lines.append(f"  {stage.stage:<11} {start}: {trains}")
                lines.append(
                    f"  {'':<11} {stage.length}, {stage.packs_a_step} packs of {stage.pack_tokens} tokens a step, "
                    f"kept ratio {stage.kept_ratio:g}"
                )
        return [*lines, "Use one with --preset NAME, or write `preset: NAME` into aurora.yaml."]


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> PresetsResult:
    """Every preset that is installed; nothing is touched, so a dry run is the same."""
    return PresetsResult({name: _stages(name, settings) for name in preset_names()})


def _stages(name: str, settings: Settings) -> list[StageSummary]:
    return [_summary(name, stage) for stage in load_preset(name, settings.workspace).stages]


def _summary(name: str, stage: str) -> StageSummary:
    flags = {"preset": ("--preset", name), "train.stage": ("--stage", stage)}
    settings = resolve(flags, environment={}).settings
    train = settings.train
    modules = {part: getattr(train, part) for part in PARTS}
    return StageSummary(
        stage=stage,
        after=train.after,
        trains={part: module.lr for part, module in modules.items() if module is not None},
        kept_ratio=settings.merging.kept_ratio,
        packs_a_step=train.global_batch_packs,
        pack_tokens=train.pack_tokens,
        length=f"{train.max_steps} steps" if train.max_steps else f"{train.epochs:g} epochs",
    )
