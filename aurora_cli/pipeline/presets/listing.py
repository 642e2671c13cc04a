"""Which presets there are, and what each of their stages trains."""

from pathlib import Path

from aurora_cli.config.presets import load_preset, own_presets, preset_names, presets_folder
from aurora_cli.config.resolve import resolve
from aurora_cli.errors import SettingsError
from aurora_cli.models.parts import Part
from aurora_cli.pipeline.presets.result import PresetsResult, StageSummary

PARTS: tuple[Part, ...] = ("projector", "vision_tower", "language_model")
"""In the order that stages begin to train them."""


def list_presets(workspace: Path) -> PresetsResult:
    """Every preset that is installed, and the workspace's own; one of these that is wrong is named with its fault."""
    folders = {name: presets_folder() / name for name in preset_names()}
    own = {name: path for name, path in own_presets(workspace).items() if name not in folders}
    found, unreadable = {}, {}
    for name, path in {**folders, **own}.items():
        try:
            found[name] = _stages(path)
        except SettingsError as error:
            unreadable[name] = error.message
    return PresetsResult(found, tuple(own), unreadable or None)


def _stages(path: Path) -> list[StageSummary]:
    name = str(path.absolute())
    return [_summary(name, stage) for stage in load_preset(name, path.parent).stages]


def _summary(preset: str, stage: str) -> StageSummary:
    """A stage as the preset alone has it, without what a workspace's aurora.yaml says."""
    flags = {
        "preset": ("--preset", preset),
        "train.stage": ("--stage", stage),
        "workspace": ("--workspace", str(presets_folder())),
    }
    settings = resolve(flags, environment={}).settings
    train = settings.train
    modules = {part: getattr(train, part) for part in PARTS}
    return StageSummary(
        stage=stage,
        after=train.after,
        trains={part: module.lr for part, module in modules.items() if module is not None},
        kept_ratio=settings.merging.largest.kept_ratio,
        trained_ratios=settings.merging.trained_ratios,
        packs_a_step=train.global_batch_packs,
        pack_tokens=train.pack_tokens,
        length=f"{train.max_steps} steps" if train.max_steps else f"{train.epochs:g} epochs",
    )
