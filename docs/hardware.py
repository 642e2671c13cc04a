"""Writes docs/hardware.md: which settings of `auroracap-7b` fit which machine. With --check, fails when it is stale.

For every stage and machine the candidates below are tried in their order, the cheapest in time first; the first whose
estimate fits is shown. The estimates are those of `aurora train --plan`.

    python docs/hardware.py
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from aurora_cli.config.resolve import resolve
from aurora_cli.config.settings import Settings
from aurora_cli.constants import STAGES
from aurora_cli.pipeline.train.estimate import network
from aurora_cli.pipeline.train.estimate.estimate import plain_memory, traced
from aurora_cli.pipeline.train.estimate.micro_batches import full_size
from aurora_cli.pipeline.train.estimate.trace import StepMemory
from aurora_cli.training import costs

PAGE = Path(__file__).with_name("hardware.md")
SIZES = Path(__file__).with_name("hardware.yaml")
GB = 1e9
ZERO_STAGE = {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3}
HEADROOM = 1.2
"""A measured peak may lie so far above the estimate: the tests hold the estimate to it, with small models on a CPU."""
LORA = ("train.lora.language_model.rank=16",)


@dataclass(frozen=True)
class Machine:
    gpus: int
    memory_gb: int

    def __str__(self) -> str:
        return f"{self.gpus} x {self.memory_gb} GB"


MACHINES = (Machine(1, 24), Machine(1, 80), Machine(8, 80))


@dataclass(frozen=True)
class Candidate:
    """What a stage's recipe is changed by."""

    engine: str
    micro_batch_packs: int
    recompute: bool
    lora: bool = False
    half_packs: bool = False
    """Packs of half the tokens, and twice as many a step."""

    @property
    def offload(self) -> bool:
        return self.engine.endswith("_offload")


@dataclass(frozen=True)
class Need:
    """Bytes that a candidate takes."""

    gpu: float
    """Of each process."""
    activations: float
    """Of that."""
    host: float
    """Main memory of the machine, at most, for weights and optimizer."""
    checkpoint: float


class Stage:
    """One stage's network, without its weights, and what it takes."""

    def __init__(self, name: str, *, lora: bool = False) -> None:
        self.settings = settings_of(name, LORA if lora else ())
        self.config = network.config_of(self.settings)
        self.parts = network.parts_of(network.without_weights(self.config), self.settings)
        self._steps: dict[tuple[object, ...], StepMemory] = {}

    def states(self, candidate: Candidate, machine: Machine) -> float:
        """Bytes of weights, gradients and optimizer on each GPU: what a step needs at least, known without one."""
        stage = ZERO_STAGE[candidate.engine.removesuffix("_offload")]
        if stage == 0:
            return costs.states(self.parts, 0, 1, "fp32")
        away = candidate.engine == "zero3_offload"
        return costs.states(self.parts, stage, machine.gpus, "bf16", offload=candidate.offload, offload_weights=away)

    def need(self, candidate: Candidate, machine: Machine) -> Need:
        changed = {
            "micro_batch_packs": candidate.micro_batch_packs,
            "gradient_checkpointing": candidate.recompute,
            "pack_tokens": self.settings.train.pack_tokens // (2 if candidate.half_packs else 1),
        }
        settings = self.settings.model_copy(update={"train": self.settings.train.model_copy(update=changed)})
        stage = ZERO_STAGE[candidate.engine.removesuffix("_offload")]
        states = self.states(candidate, machine)
        step = self._step(settings, sharded=stage > 0)
        activations = step.without_gradients if stage else plain_memory(self.parts, step).activations
        learning = sum(part.trained for part in self.parts)
        shared = stage == 3 and machine.gpus > 1
        loading = costs.loading(self.parts, machine.gpus, "bf16", shared=shared) * machine.gpus
        kept = (4 + 4 + costs.MOMENTS) * learning if candidate.offload else 0  # fp32 weights, gradients, moments
        if candidate.engine == "zero3_offload":
            kept += 2 * sum(part.parameters for part in self.parts)
        return Need(states + activations, activations, max(loading, kept), (4 + costs.MOMENTS) * learning)

    def _step(self, settings: Settings, *, sharded: bool) -> StepMemory:
        train = settings.train
        key = (train.micro_batch_packs, train.gradient_checkpointing, train.pack_tokens, sharded)
        if key not in self._steps:
            full = full_size(self.config, settings)
            self._steps[key] = traced(settings, self.config, (full,), "bf16", 1, engine=sharded)
        return self._steps[key]


def settings_of(stage: str, sets: tuple[str, ...] = ()) -> Settings:
    return resolve({"train.stage": ("--stage", stage)}, sets=sets, config=SIZES, environment={}).settings


def candidates(settings: Settings, machine: Machine) -> Iterator[Candidate]:
    """From what costs no time to what costs most: engine, micro-batch, recomputation, offload, LoRA."""
    train = settings.train
    per_process = train.global_batch_packs // machine.gpus
    micro = [n for n in range(min(train.micro_batch_packs, per_process), 0, -1) if per_process % n == 0]
    recompute = [train.gradient_checkpointing] if train.gradient_checkpointing else [False, True]
    engines: tuple[str, ...] = ("none", "zero2") if machine.gpus == 1 else ("zero2", "zero3")
    for lora, half in ((False, False), (True, False), (True, True)):
        for again, packs, engine in product(recompute, micro, engines):
            yield Candidate(engine, packs, again, lora, half)
        for engine, again, packs in product(("zero2_offload", "zero3_offload"), recompute, micro):
            yield Candidate(engine, packs, again, lora, half)


def first_that_fits(plain: Stage, adapted: Stage, machine: Machine) -> tuple[Candidate, Need]:
    room = machine.memory_gb * GB / HEADROOM
    for candidate in candidates(plain.settings, machine):
        stage = adapted if candidate.lora else plain
        if stage.states(candidate, machine) > room:
            continue
        need = stage.need(candidate, machine)
        if need.gpu <= room:
            return candidate, need
    raise LookupError(f"nothing fits {machine}")


def flags(candidate: Candidate, settings: Settings, machine: Machine) -> str:
    """What is typed behind `aurora train --stage NAME`."""
    train = settings.train
    default = "none" if machine.gpus == 1 else "zero2"
    words = [] if candidate.engine == default else [f"--deepspeed {candidate.engine}"]
    if candidate.micro_batch_packs != train.micro_batch_packs:
        words.append(f"--set train.micro_batch_packs={candidate.micro_batch_packs}")
    if candidate.recompute != train.gradient_checkpointing:
        words.append("--set train.gradient_checkpointing=true")
    if candidate.lora:
        words += [f"--set {each}" for each in LORA]
    if candidate.half_packs:
        words.append(f"--set train.pack_tokens={train.pack_tokens // 2}")
        words.append(f"--set train.global_batch_packs={train.global_batch_packs * 2}")
    return "<br>".join(f"`{word}`" for word in words) or "nothing"


def fits_rows(stages: dict[str, tuple[Stage, Stage]]) -> Iterator[str]:
    for (name, (plain, adapted)), machine in product(stages.items(), MACHINES):
        candidate, need = first_that_fits(plain, adapted, machine)
        cells = [
            name,
            str(machine),
            flags(candidate, plain.settings, machine),
            f"{need.gpu / GB:.0f}",
            f"{need.host / GB:,.0f}",
            f"{need.checkpoint / GB:,.1f}",
        ]
        yield f"| {' | '.join(cells)} |"


def engine_rows(stages: dict[str, tuple[Stage, Stage]]) -> Iterator[str]:
    engines: tuple[Literal["none", "zero1", "zero2", "zero3"], ...] = ("none", "zero1", "zero2", "zero3")
    for (name, (plain, _)), machine in product(stages.items(), (MACHINES[1], MACHINES[2])):
        train = plain.settings.train
        own = {engine: Candidate(engine, train.micro_batch_packs, train.gradient_checkpointing) for engine in engines}
        states = [f"{plain.states(candidate, machine) / GB:.0f}" for candidate in own.values()]
        activations = f"{plain.need(own['zero2'], machine).activations / GB:.0f}"
        yield f"| {' | '.join([name, str(machine.gpus), *states, activations])} |"


def part_rows(stages: dict[str, tuple[Stage, Stage]]) -> Iterator[str]:
    for name, (plain, _) in stages.items():
        train = plain.settings.train
        learning = sum(part.trained for part in plain.parts) / GB
        cells = [
            name,
            ", ".join(part.name.replace("_", " ") for part in plain.parts if part.trained),
            f"{learning:.2f}",
            f"{plain.settings.merging.kept_ratio:g}",
            f"{train.global_batch_packs} x {train.pack_tokens:,}",
            f"{train.micro_batch_packs}",
            "yes" if train.gradient_checkpointing else "no",
        ]
        yield f"| {' | '.join(cells)} |"


def page() -> str:
    plain = {name: Stage(name) for name in STAGES}
    stages = {name: (one, Stage(name, lora=True) if name == "language" else one) for name, one in plain.items()}
    weights = sum(part.parameters for part in stages[STAGES[0]][0].parts) / GB
    return f"""<!-- Generated by docs/hardware.py; `make reference` writes it anew. -->

# Hardware sizing

What the preset `auroracap-7b` ({weights:.1f} billion parameters) needs. **All numbers here are estimates** of
`aurora train --plan`, computed from the sizes of the network. Nobody has trained this model with aurora on these
machines yet. For your own settings and data, ask before you start:

```sh
aurora train --stage language --plan
```

## What fits which machine

The recipe of each stage, and what has to be added to `aurora train --stage NAME` for it to fit. The table shows the
first settings, from the fastest to the slowest, whose estimate leaves a sixth of the GPU's memory free.

| stage | GPUs | add | GB a GPU | GB main memory | GB a checkpoint |
| --- | --- | --- | --: | --: | --: |
{chr(10).join(fits_rows(stages))}

- Number of GPUs, micro-batch, ZeRO and recomputation change nothing in what a step computes: the losses are the same,
  to rounding, because a step is always the same packs. LoRA and `train.pack_tokens` do change the training.
- **Main memory** is for the whole machine: while the weights are loaded (each process reads them in fp32, unless ZeRO-3
  shares them), or under `*_offload` for what the optimizer keeps, gradients and, with `zero3_offload`, the weights.
  Image decoding needs some GB more.
- **A checkpoint** holds the trained weights and Adam's two moments in fp32. `checkpoint.keep` of them stay (2), and one
  more while it is written.
- Under `zero3_offload` the GPU has at most a billion weights at a time, which come from main memory layer by layer, in
  every micro-batch: it is the slowest. Where main memory is short, adapters (`--deepspeed zero2_offload
  --set train.lora.language_model.rank=16`) train small matrices beside the language model's frozen weights; the tower
  and the projector train whole.

## The recipe of each stage

| stage | trained | billions of parameters | kept ratio | packs x tokens a step | micro-batch, packs | recomputation |
| --- | --- | --: | --: | --: | --: | --- |
{chr(10).join(part_rows(stages))}

## Memory by engine

GB of each GPU for weights, gradients and optimizer state, with the recipe's own sizes; activations come on top.

| stage | GPUs | `none` | `zero1` | `zero2` | `zero3` | activations |
| --- | --: | --: | --: | --: | --: | --: |
{chr(10).join(engine_rows(stages))}

`none` keeps the weights in fp32, and while it steps a copy in bf16 of those that it trains (2 bytes each, on top); the
others keep them in bf16 with an fp32 copy of what is trained. `zero2` and `zero3` sum the
gradients of a step's micro-batches in fp32, `zero1` in bf16.

## When it still does not fit

In this order, from what costs least:

1. `--set train.micro_batch_packs=1`: fewer activations, the same training.
2. `--set train.gradient_checkpointing=true`: activations are computed twice, about a third more time.
3. `--deepspeed zero2`, also with one GPU: frozen weights in bf16 instead of fp32.
4. `--deepspeed zero3` with several GPUs: weights divided among them.
5. `--deepspeed zero2_offload` or `zero3_offload`: optimizer state (and weights) in main memory.
6. `--set train.lora.language_model.rank=16`: adapters instead of the language model's weights.
7. `--set train.pack_tokens=2048`: shorter packs. This changes which samples share a step; longer samples are cut.
8. `--token-kept-ratio 0.2`: fewer visual tokens. This changes the model.

The error message and more causes: [out of memory](troubleshooting.md#out-of-memory-oom).
"""


def main() -> int:
    text = page()
    if "--check" in sys.argv:
        stale = not PAGE.exists() or PAGE.read_text("utf-8") != text
        if stale:
            print(f"stale: {PAGE.name}; `make reference` writes it anew", file=sys.stderr)
        return int(stale)
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
