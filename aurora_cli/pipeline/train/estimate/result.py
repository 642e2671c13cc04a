"""What `aurora train --plan` says."""

from dataclasses import dataclass

from aurora_cli.pipeline.result import Result
from aurora_cli.training.costs import Memory, PartSize

GB = 1e9


@dataclass(frozen=True)
class DataAmounts:
    """What the data comes to, exactly."""

    samples: int
    """An epoch."""
    packs: int
    """An epoch."""
    text_tokens: int
    visual_tokens: int
    frames: int
    """An epoch."""
    fill: float
    """Of packs, before they are padded to one length."""
    steps: int
    epochs: float
    left_out: int = 0
    """Samples that no pack holds."""
    validation_samples: int = 0
    """That are measured on and not trained on."""
    beyond_positions: str | None = None
    """Samples that are longer than the language model has positions for."""
    notes: tuple[str, ...] = ()
    """Samples that do not go in as they are."""
    steps_by_ratio: dict[str, int] | None = None
    """Of a mixture: the steps at each kept ratio, ascending; tokens and arithmetic are then what is to be expected."""


@dataclass(frozen=True)
class FeatureEstimate:
    """What keeping the features of a frozen tower takes of the disk, and saves."""

    bytes: int
    """Of the features of all its media, an image that several samples share once."""
    limit: int
    """Of all features below `folder`."""
    folder: str
    tower_flops: float
    """Of an epoch; 0 from the second on."""
    other_flops: float
    """Of an epoch."""

    def lines(self) -> list[str]:
        share = self.tower_flops / max(1.0, self.tower_flops + self.other_flops)
        line = (
            f"features: {self.bytes / GB:,.2f} GB in {self.folder}; the tower's {self.tower_flops:.3g} FLOPs,"
            f" {share:.0%} of an epoch's, only until they are there: in the first epoch with this tower"
        )
        if self.bytes <= self.limit:
            return [line]
        return [line, f"features: no more than {self.limit / GB:,.2f} GB of them (train.cache_features_gb)"]


@dataclass(frozen=True)
class TrainEstimate(Result):
    """What a stage would take."""

    stage: str
    engine: str
    processes: int
    precision: str
    device: str
    parts: tuple[PartSize, ...]
    memory: dict[str, Memory]
    """By engine, for as many processes as there would be."""
    memory_mb: float
    """Of each process under the engine that would run, at most."""
    base_memory: int
    """Bytes that Python and its libraries take beside; 0 where a GPU's memory is meant."""
    loading_memory: int
    """Bytes of main memory that each process takes for weights while it loads them."""
    data: DataAmounts | None
    flops: float | None
    """Of the whole run."""
    flops_per_s: float | None
    """That a process is taken to reach; none: there is nothing to compute."""
    hours: float | None
    device_memory: int | None
    """Bytes of the GPU, or without one of the machine."""
    checkpoint_bytes: int
    """Of one."""
    checkpoints_bytes: int
    """Of all that lie on the disk at once, while one is being written."""
    features: FeatureEstimate | None = None
    """Of a frozen tower, where they are kept."""
    problem: str | None = None
    """Why there are no numbers of the data."""

    def lines(self) -> list[str]:
        whole = sum(part.parameters for part in self.parts)
        trained = sum(part.trained for part in self.parts)
        lines = [f"stage {self.stage}: {_short(whole)} parameters, {_short(trained)} trained"]
        lines += [
            f"  {part.name:<15}{_short(part.parameters):>9}"
            + (f", {_short(part.trained)} trained" if part.trained else ", frozen")
            for part in self.parts
        ]
        lines.append(
            f"memory of each of {self.processes} process{'es' if self.processes > 1 else ''}, {self.precision}, about:"
        )
        base = f" + {self.base_memory / GB:,.1f} of Python and its libraries" if self.base_memory else ""
        for name, memory in self.memory.items():
            mark = "  <- this run" if name == self.engine.removesuffix("_offload") else ""
            lines.append(
                f"  {name:<6}{(memory.total + self.base_memory) / GB:>8,.1f} GB = {memory.states / GB:,.1f} of states"
                f" + {memory.activations / GB:,.1f} of activations{base}{mark}"
            )
        if self.device_memory is not None:
            lines.append(self._device_line(self.device_memory))
        lines.append(
            f"main memory while weights are loaded: {self.loading_memory / GB:,.1f} GB a process,"
            f" {self.processes * self.loading_memory / GB:,.1f} GB for all of them"
        )
        if self.data is not None:
            lines += self._data_lines(self.data)
        lines.append(
            f"disk: {self.checkpoint_bytes / GB:,.2f} GB a checkpoint,"
            f" {self.checkpoints_bytes / GB:,.2f} GB for all that are there at once"
        )
        if self.features is not None:
            lines += self.features.lines()
        if self.problem:
            lines.append(f"The run would stop, so there are no numbers of the data: {self.problem}")
        return lines

    def _device_line(self, there: int) -> str:
        """What there is of the memory that the run needs."""
        on_cpu = self.device == "cpu"
        needed = self.memory_mb * 2**20 * (self.processes if on_cpu else 1)
        has = f"{'this machine' if on_cpu else self.device} has {there / GB:,.1f} GB"
        if needed <= there:
            return has
        ways = "--set train.micro_batch_packs=1, --set train.gradient_checkpointing=true, smaller train.pack_tokens"
        return f"{has}, TOO LITTLE for the {needed / GB:,.1f} GB of this run: {ways}, or adapters (train.lora)"

    def _data_lines(self, data: DataAmounts) -> list[str]:
        per_step = data.samples * data.epochs / max(1, data.steps)
        beyond = [data.beyond_positions] if data.beyond_positions else []
        return [
            *beyond,
            *data.notes,
            f"an epoch: {data.samples:,} samples, {data.frames:,} frames, {data.text_tokens:,} text +"
            f" {data.visual_tokens:,} visual tokens, {data.packs:,} packs, {data.fill:.1%} full",
            f"the run: {data.epochs:,.2f} epochs, {data.steps:,} steps of about {per_step:,.0f} samples",
            *_ratio_lines(data.steps_by_ratio),
            f"arithmetic: {self.flops:.3g} FLOPs, {_duration(self.hours or 0.0)} at {self.flops_per_s:.3g} FLOP/s a"
            " process (train.flops_per_s)",
        ]


def _ratio_lines(steps_by_ratio: dict[str, int] | None) -> list[str]:
    if steps_by_ratio is None:
        return []
    steps = ", ".join(f"{steps:,} at {ratio}" for ratio, steps in steps_by_ratio.items())
    return [f"steps by kept ratio: {steps}; tokens and arithmetic are what is to be expected"]


def _duration(hours: float) -> str:
    """
    >>> _duration(30.0), _duration(0.25), _duration(0.001)
    ('30.0 h', '15.0 min', '3.6 s')
    """
    for unit, factor in (("h", 1), ("min", 60)):
        if hours * factor >= 1:
            return f"{hours * factor:,.1f} {unit}"
    return f"{hours * 3600:,.1f} s"


def _short(number: int) -> str:
    """
    >>> _short(59_904), _short(7_062_000_000)
    ('59.9 K', '7,062.0 M')
    """
    return f"{number / 1e3:,.1f} K" if number < 1e6 else f"{number / 1e6:,.1f} M"
