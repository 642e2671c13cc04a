"""What `aurora presets` says."""

from dataclasses import dataclass
from typing import Literal

from aurora_cli.pipeline.result import Result


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
    trained_ratios: tuple[float, ...] = ()
    """Of a mixture, ascending; `kept_ratio` is the largest."""


@dataclass(frozen=True)
class PresetsResult(Result):
    presets: dict[str, list[StageSummary]]
    own: tuple[str, ...] = ()
    """Those of the workspace."""
    unreadable: dict[str, str] | None = None
    """Of the workspace's, those that are wrong, and why."""

    def lines(self) -> list[str]:
        lines = []
        for name, stages in self.presets.items():
            lines.append(f"{name} (of this workspace)" if name in self.own else name)
            for stage in stages:
                trains = ", ".join(f"{part} at {rate:g}" for part, rate in stage.trains.items())
                start = f"from {stage.after}" if stage.after else "from the preset's models"
                lines.append(f"  {stage.stage:<11} {start}: {trains}")
                lines.append(
                    f"  {'':<11} {stage.length}, {stage.packs_a_step} packs of {stage.pack_tokens} tokens a step, "
                    f"kept ratio {', '.join(f'{ratio:g}' for ratio in stage.trained_ratios or (stage.kept_ratio,))}"
                )
        lines += [f"{name} (of this workspace): {reason}" for name, reason in (self.unreadable or {}).items()]
        return [
            *lines,
            "Use one with --preset NAME, or write `preset: NAME` into aurora.yaml. --show NAME prints one; --copy NAME "
            "MINE and --new MINE make one.",
            "Batch scripts for SLURM: --copy slurm.",
        ]


@dataclass(frozen=True)
class PresetFiles(Result):
    """A preset's text."""

    name: str
    folder: str
    files: dict[str, str]

    def lines(self) -> list[str]:
        lines = [f"# {self.name}: {self.folder}"]
        for name, text in self.files.items():
            lines += ["", f"# --- {name}", *text.rstrip("\n").split("\n")]
        return lines


@dataclass(frozen=True)
class WrittenPreset(Result):
    """A preset that was made."""

    name: str
    folder: str
    files: tuple[str, ...]
    did: Literal["written", "nothing", "dry run"]

    def lines(self) -> list[str]:
        use = f"Change it there, and use it: --preset {self.name}, or `preset: {self.name}` in aurora.yaml."
        return _written_lines(self, use)


@dataclass(frozen=True)
class WrittenScripts(Result):
    """Batch scripts that were copied."""

    folder: str
    files: tuple[str, ...]
    did: Literal["written", "nothing", "dry run"]

    def lines(self) -> list[str]:
        use = "Their first lines say how they are handed in. Change what they ask for (#SBATCH) to what you have."
        return _written_lines(self, use)


def _written_lines(written: WrittenPreset | WrittenScripts, use: str) -> list[str]:
    if written.did == "nothing":
        return [f"{written.folder}: is there already, and the same; nothing to do"]
    verb = "would write" if written.did == "dry run" else "wrote"
    return [f"{verb} {written.folder}: {', '.join(written.files)}", use]
