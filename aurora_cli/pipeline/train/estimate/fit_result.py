"""What `aurora train --plan --fit` says."""

from dataclasses import dataclass

import yaml
from pydantic import JsonValue

from aurora_cli.errors import EXIT_ENVIRONMENT, EXIT_OK
from aurora_cli.pipeline.result import Result

GB = 1e9


@dataclass(frozen=True)
class FitOption:
    """Settings to change, and what the stage then takes."""

    settings: dict[str, JsonValue]
    """By dotted path; none: as they are."""
    memory: int
    """Bytes of a device, at most."""
    takes: float
    """How many times as long a step takes, by rule of thumb."""
    same: bool
    """Whether the training is the same, to rounding."""

    def words(self) -> list[str]:
        """What is typed behind `aurora train --stage STAGE`."""
        if not self.settings:
            return ["as it is"]
        return [
            f"--deepspeed {value}" if path == "train.deepspeed" else f"--set {path}={yaml.safe_dump(value).split()[0]}"
            for path, value in self.settings.items()
        ]


@dataclass(frozen=True)
class FitResult(Result):
    """Which settings a device holds a stage with."""

    stage: str
    device: str
    limit: int
    """Bytes."""
    room: int
    """Bytes of it that the stage may take."""
    options: tuple[FitOption, ...]
    """Those that fit, from what costs no time to what costs most."""
    least: FitOption | None
    """Of those that do not, what takes the least."""
    file: str | None = None
    """Where the first is written."""
    problem: str | None = None
    """Why nothing is known of the data: full packs are taken for theirs."""

    @property
    def exit_code(self) -> int:
        return EXIT_OK if self.options else EXIT_ENVIRONMENT

    def lines(self) -> list[str]:
        left = self.limit - self.room
        lines = [
            f"stage {self.stage} in {self.limit / GB:,.1f} GB of {self.device}"
            + (f", {left / GB:,.1f} of them left free" if left else "")
            + (":" if self.options else ": nothing fits")
        ]
        lines += [_line(option) for option in self.options]
        if self.least is not None and not self.options:
            lines += ["the least that it takes:", _line(self.least)]
        if self.problem:
            lines.append(f"The packs are taken for full, because there is no data: {self.problem}")
        if self.file:
            lines.append(f"written: the first, {self.file}; aurora train --stage {self.stage} --config {self.file}")
        return lines


def _line(option: FitOption) -> str:
    training = "" if option.same else ", another training"
    return f"  {option.memory / GB:>6,.1f} GB  x{option.takes:.2f} time{training}  {' '.join(option.words())}"
