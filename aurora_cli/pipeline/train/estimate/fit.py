"""`aurora train --plan --fit 24GB`: which settings a device holds, from what costs no time to what costs most.

Changes are tried alone and together. One that fits is not tried with more beside it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import torch
import yaml

from aurora_cli.config.settings import Settings
from aurora_cli.config.training import Lora
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.errors import UsageError
from aurora_cli.io.atomic import write_text
from aurora_cli.pipeline.train.build_data import plan_data
from aurora_cli.pipeline.train.estimate.estimate import base_memory, loading_memory, plain_memory, plan_if_there, traced
from aurora_cli.pipeline.train.estimate.fit_result import FitOption, FitResult
from aurora_cli.pipeline.train.estimate.limit import parse_limit
from aurora_cli.pipeline.train.estimate.micro_batches import full_size, sizes_of
from aurora_cli.pipeline.train.estimate.network import config_of, parts_of, without_weights
from aurora_cli.pipeline.train.estimate.trace import MicroBatchSize, StepMemory
from aurora_cli.training.costs import PartSize, states
from aurora_cli.training.engine.deepspeed_config import engine_name, resolved_precision

ROOM = 0.1
"""Share of a GPU that stays free: for CUDA itself, and for holes between blocks."""


ALONE = {"train.optimizer", "train.quantize_base"}
"""What DeepSpeed cannot shard."""


class Change(NamedTuple):
    """Of the settings, for less memory."""

    path: str
    value: Any
    takes: float
    """How many times as long a step takes, by rule of thumb."""
    same: bool = True
    """Whether the training stays the same."""


def fit_stage(
    settings: Settings, processes: int, trained_before: frozenset[str], reporter: Reporter, *, writes: bool
) -> FitResult:
    """What of the settings must change for the stage to fit.

    Raises:
        UsageError: the file to write is there, and says something else.
    """
    assert settings.train.fit is not None
    limit = parse_limit(settings.train.fit)
    cuda = limit.gpu or torch.cuda.is_available()
    room = int(limit.size * (1 - ROOM if cuda else 1))
    found: list[FitOption] = []
    missed: FitOption | None = None
    needs = _Needs(settings, processes, trained_before, cuda=cuda)
    for changes in _sets_of(_changes(settings, processes, cuda=cuda)):
        if not _can_be(changed(settings, {change.path: change.value for change in changes})):
            continue
        names = {change.path: change.value for change in changes}
        if any(one.settings.items() <= names.items() for one in found):
            continue
        option = needs.option(changes)
        reporter.info(f"{option.memory / 1e9:,.1f} GB: {', '.join(option.words())}")
        if option.memory <= room:
            found.append(option)
        elif missed is None or option.memory < missed.memory:
            missed = option
    found.sort(key=lambda option: (option.takes, not option.same, len(option.settings)))
    result = FitResult(
        stage=settings.train.stage,
        device=f"{'a GPU' if cuda else 'this machine'}",
        limit=limit.size,
        room=room,
        options=tuple(found),
        least=missed,
        problem=needs.problem,
    )
    return _written(result, settings) if writes else result


def _changes(settings: Settings, processes: int, *, cuda: bool) -> list[Change]:
    """What there is to change, each for itself."""
    train = settings.train
    engine = engine_name(train, processes)
    half = resolved_precision(train.precision, cuda=cuda) != "fp32"
    changes = []
    if train.micro_batch_packs > 1:
        changes.append(Change("train.micro_batch_packs", 1, 1.02))
    if engine == "none" and train.optimizer == "adamw":
        changes.append(Change("train.optimizer", "adamw_8bit", 1.05, same=False))
    if cuda and half and engine == "none":
        changes.append(Change("train.deepspeed", "zero2", 1.01))
    if not train.gradient_checkpointing:
        changes.append(Change("train.gradient_checkpointing", True, 1.33))
    if train.language_model is not None and train.lora.language_model is None:
        changes.append(Change("train.lora.language_model.rank", Lora().rank, 1.0, same=False))
    if engine == "none" and train.quantize_base is None:
        changes.append(Change("train.quantize_base", "nf4", 1.2, same=False))
    if cuda and engine in ("none", "zero2", "zero3"):
        changes.append(Change("train.deepspeed", "zero2_offload", 2.0))
        changes.append(Change("train.deepspeed", "zero3_offload", 4.0))
    if not cuda and not train.tight_memory:
        changes.append(Change("train.tight_memory", True, 1.3))
    return changes


def _sets_of(changes: list[Change]) -> Iterator[tuple[Change, ...]]:
    """Every set of changes with at most one of each setting, small ones first."""
    for number in range(len(changes) + 1):
        for some in combinations(changes, number):
            paths = {change.path for change in some}
            if len(paths) == number and not ("train.deepspeed" in paths and paths & ALONE):
                yield some


def _can_be(settings: Settings) -> bool:
    """Whether what is to be quantized is frozen."""
    train = settings.train
    learns_whole = train.language_model is not None and train.lora.language_model is None
    return train.quantize_base is None or not learns_whole


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with others at these dotted paths."""
    tree = settings.model_dump(mode="json")
    for path, value in changes.items():
        *sections, name = path.split(".")
        node = tree
        for section in sections:
            if node.get(section) is None:
                node[section] = {}
            node = node[section]
        node[name] = value
    return Settings.model_validate(tree)


class _Needs:
    """What a stage takes with this or that of its settings changed. What is the same is computed once."""

    def __init__(self, settings: Settings, processes: int, trained_before: frozenset[str], *, cuda: bool) -> None:
        self._settings, self._processes, self._cuda = settings, processes, cuda
        plan, self.problem = plan_if_there(settings, trained_before)
        self._plan = plan
        self._config = config_of(settings)
        self._base = 0 if cuda else base_memory(engine_name(settings.train, processes))
        self._steps: dict[tuple[Any, ...], StepMemory] = {}
        self._parts: dict[tuple[Any, ...], list[PartSize]] = {}
        self._sizes: dict[int, tuple[MicroBatchSize, ...]] = {}

    def option(self, changes: tuple[Change, ...]) -> FitOption:
        settings = changed(self._settings, {change.path: change.value for change in changes})
        takes = 1.0
        for change in changes:
            takes *= change.takes
        held = self._held(settings)
        return FitOption(
            settings={change.path: change.value for change in changes},
            memory=held + self._base,
            takes=round(takes, 2),
            same=all(change.same for change in changes),
        )

    def _held(self, settings: Settings) -> int:
        """Bytes on the device; on a CPU also what the heap's holes may take, unless it gives back at once."""
        train = settings.train
        parts = self._parts_of(settings)
        engine = engine_name(train, self._processes)
        precision = resolved_precision(train.precision, cuda=self._cuda)
        step = self._step(settings, engine=engine != "none")
        if engine == "none":
            total = plain_memory(parts, step).total
        else:
            offload, away = engine.endswith("_offload") and self._cuda, engine == "zero3_offload"
            stage = int(engine.removesuffix("_offload")[-1]) if engine.startswith("zero") else 2
            total = step.without_gradients + states(
                parts, stage, self._processes, precision, offload=offload, offload_weights=away
            )
        if self._cuda:
            return total
        holes = 0 if train.tight_memory else step.peak
        return max(total + holes, loading_memory(settings, parts, engine, self._processes, cuda=False))

    def _parts_of(self, settings: Settings) -> list[PartSize]:
        train = settings.train
        key = (train.optimizer, train.lora.language_model, train.quantize_base)
        if key not in self._parts:
            self._parts[key] = parts_of(without_weights(self._config), settings)
        return self._parts[key]

    def _step(self, settings: Settings, *, engine: bool) -> StepMemory:
        train = settings.train
        precision = resolved_precision(train.precision, cuda=self._cuda)
        half = precision != "fp32"
        key = (
            train.micro_batch_packs,
            train.gradient_checkpointing,
            train.lora.language_model,
            train.quantize_base,
            engine and half,
        )
        if key not in self._steps:
            sizes = self._sizes_of(settings)
            self._steps[key] = traced(settings, self._config, sizes, precision, self._processes, engine=engine)
        return self._steps[key]

    def _sizes_of(self, settings: Settings) -> tuple[MicroBatchSize, ...]:
        micro = settings.train.micro_batch_packs
        if micro not in self._sizes:
            self._sizes[micro] = (
                (full_size(self._config, settings),)
                if self._plan is None
                else sizes_of(plan_data(self._plan, self._config), settings)
            )
        return self._sizes[micro]


def _written(result: FitResult, settings: Settings) -> FitResult:
    """The result, once its first settings are in the file that was requested."""
    if settings.train.write is None or not result.options:
        return result
    path = Workspace(settings.workspace).path(settings.train.write)
    text = _yaml(result)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"train.write: {path} is there, and says something else", hint="Name a new file, or remove it."
        )
    write_text(path, text)
    return replace(result, file=str(path))


def _yaml(result: FitResult) -> str:
    first = result.options[0]
    tree: dict[str, Any] = {}
    for setting, value in first.settings.items():
        node = tree
        *sections, name = setting.split(".")
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    head = f"# aurora train --stage {result.stage} --config THIS: {first.memory / 1e9:,.1f} GB, by an estimate\n"
    return head + yaml.safe_dump(tree, sort_keys=False)
