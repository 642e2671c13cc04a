"""What a step holds in memory, from a step of the very network on tensors that have shapes and no values.

Every operation of the forward and the backward pass runs on fake tensors, and each storage that comes and goes is
counted: activations, recomputation, adapters, gradients and logits are there because the step makes them, not because
a formula knows of them. What a kernel takes inside itself is not seen. Shapes: P packs, T positions, F frames.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import Settings
from aurora_cli.models import packed_attention
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.models.merge_plan import WHOLE
from aurora_cli.models.multimodal_inputs import splice
from aurora_cli.models.visual_tokens import encode_frames

DEEP = 6
"""Layers of a language model above which some stand for all."""


class MicroBatchSize(NamedTuple):
    """Of one micro-batch."""

    packs: int
    positions: int
    """Of a pack, with the padding."""
    merged: int
    """Frames."""
    whole: int
    """Frames of which every token is kept (slow-fast)."""
    targets: int
    merging: TokenMerging = WHOLE
    """Of the frames that are not kept whole."""


class StepMemory(NamedTuple):
    """Bytes that a micro-batch takes beside weights and optimizer, at most."""

    peak: int
    """With the gradients that are there at that moment."""
    without_gradients: int
    """Were each gradient taken away as it becomes whole."""


class Meter(TorchDispatchMode):
    """Counts the storages that operations make, and those that are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.gradients = 0
        self.phase = "tower"
        self.peaks: dict[str, StepMemory] = {}
        """By phase of the step: in each, what is held at most grows in proportion to the layers."""
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                self._came(tensor.untyped_storage())
        return result

    def begin(self, phase: str) -> None:
        self.phase = phase

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """What is counted elsewhere."""
        for tensor in tensors:
            self._known[tensor.untyped_storage()] = 0

    def is_gradient(self, parameter: nn.Parameter) -> None:
        """The gradient of a parameter is whole: it stays."""
        assert parameter.grad is not None
        self.gradients += self._known.get(parameter.grad.untyped_storage(), 0)

    def _came(self, storage: Any) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        self.live += size
        before = self.peaks.get(self.phase, StepMemory(0, 0))
        self.peaks[self.phase] = StepMemory(
            max(before.peak, self.live), max(before.without_gradients, self.live - self.gradients)
        )
        weakref.finalize(storage, self._went, size).atexit = False

    def _went(self, size: int) -> None:
        self.live -= size


def step_memory(
    make: Callable[[], AuroraCap],
    settings: Settings,
    size: MicroBatchSize,
    autocast: torch.dtype | None,
    *,
    gradients_there: bool,
) -> StepMemory:
    """Of the network that `make` gives, on the meta device, its frozen parts frozen, its weights of the dtype they
    train in.

    Language models of many layers are traced with 2 and 3 of them, which differ by a layer: each further one is the
    same again. The tower's differ, by the tokens that they merge. `gradients_there`: those of the step's earlier
    micro-batches are.
    """
    whole: Any = make().model.language_model
    layers = len(whole.layers)
    few = (layers,) if layers <= DEEP else (2, 3)
    traced = [_trace(_cut(make(), number), settings, size, autocast, gradients_there) for number in few]
    if len(few) == 1:
        return _most(traced[0].values())
    fewer, more = traced
    return _most(
        StepMemory(*(a + (layers - few[0]) * (b - a) for a, b in zip(fewer[phase], more[phase], strict=True)))
        for phase in more
    )


def _most(memories: Iterable[StepMemory]) -> StepMemory:
    return StepMemory(*(max(values) for values in zip(*memories, strict=True)))


def _cut(model: AuroraCap, layers: int) -> AuroraCap:
    language_model: Any = model.model.language_model
    language_model.layers = language_model.layers[:layers]
    return model


def _trace(
    model: AuroraCap, settings: Settings, size: MicroBatchSize, autocast: torch.dtype | None, gradients_there: bool
) -> dict[str, StepMemory]:
    """By phase."""
    meter = Meter()
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = _with_fake_weights(model)
        network.train()
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        there = 0
        for parameter in trained:
            if gradients_there:
                parameter.grad = torch.empty_like(parameter)
                meter.ignore([parameter.grad])
                there += parameter.grad.untyped_storage().nbytes()
            else:
                parameter.register_post_accumulate_grad_hook(meter.is_gradient)
        meter.ignore([*network.parameters(), *network.buffers()])
        with meter:
            loss = _loss(network, settings, size, autocast, meter)
            if loss.requires_grad:  # not where the projector alone is trained and no frame is there
                loss.backward()
            del loss
    return {phase: StepMemory(memory.peak + there, memory.without_gradients) for phase, memory in meter.peaks.items()}


def _loss(
    network: AuroraCap, settings: Settings, size: MicroBatchSize, autocast: torch.dtype | None, meter: Meter
) -> Tensor:
    """As `models.packed_rows.packed_loss`, for ids and samples that nobody looks at."""
    config, rows = network.config, (size.packs, size.positions)
    side = settings.model.image_size
    kinds: tuple[tuple[int, TokenMerging], ...] = ((size.whole, WHOLE), (size.merged, size.merging))
    pixels_F3HW = torch.empty(size.whole + size.merged, 3, side, side)
    with contextlib.nullcontext() if autocast is None else torch.autocast("cpu", autocast):
        embeds_PTC: Any = network.get_input_embeddings()(torch.zeros(rows, dtype=torch.long))
        features = [
            encode_frames(network.model, config, pixels_F3HW[:frames], merging).flatten(0, 1)
            for frames, merging in kinds
            if frames
        ]
        if features:
            visual_NC = network.model.multi_modal_projector(torch.cat(features))
            embeds_PTC = splice(embeds_PTC, torch.zeros(rows, dtype=torch.bool), visual_NC)
            del visual_NC
        del features, pixels_F3HW
        meter.begin("language model")
        _at_gradient(embeds_PTC, meter, "tower, backwards")
        language_model: Any = network.model.language_model
        extra: dict[str, Any] = {}
        mask = torch.ones(1, 1, 1, 1, dtype=torch.bool)
        if language_model.config._attn_implementation == packed_attention.NAME:
            extra["segments"] = packed_attention.Segments([[size.positions]] * size.packs, torch.zeros(2))
        else:
            mask = mask.expand(size.packs, 1, size.positions, size.positions).contiguous()
        hidden_PTC = language_model(
            inputs_embeds=embeds_PTC,
            attention_mask=mask,
            position_ids=torch.zeros(rows, dtype=torch.long),
            use_cache=False,
            **extra,
        ).last_hidden_state
        meter.begin("loss")
        _at_gradient(hidden_PTC, meter, "language model, backwards")
        targets_N = torch.zeros(size.targets, dtype=torch.long)
        return network.lm_head(hidden_PTC.flatten(0, 1)[targets_N], targets_N) / 1.0


def _at_gradient(tensor: Tensor, meter: Meter, phase: str) -> None:
    if tensor.requires_grad:
        tensor.register_hook(lambda _: meter.begin(phase))


def _with_fake_weights(model: AuroraCap) -> AuroraCap:
    """The network with weights that have no values either, on a CPU: attention there is the kernel that keeps little,
    as on a GPU. The meta device's would keep every square."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in made:
                    values = torch.empty(parameter.shape, dtype=parameter.dtype)
                    made[id(parameter)] = nn.Parameter(values, requires_grad=parameter.requires_grad)
                module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    return model


def largest(sizes: Sequence[MicroBatchSize]) -> tuple[MicroBatchSize, ...]:
    """Those of which one takes the most memory: with the most frames, positions, or targets.

    >>> sizes = [MicroBatchSize(1, 9, 2, 0, 4), MicroBatchSize(1, 8, 3, 0, 3), MicroBatchSize(1, 9, 1, 0, 4)]
    >>> [(size.positions, size.merged, size.targets) for size in largest(sizes)]
    [(9, 2, 4), (8, 3, 3)]
    """
    most = (
        max(sizes, key=lambda one: (one.packs * one.positions, one.merged + one.whole, one.targets)),
        max(sizes, key=lambda one: (one.merged + one.whole, one.packs * one.positions, one.targets)),
        max(sizes, key=lambda one: (one.targets, one.packs * one.positions, one.merged + one.whole)),
    )
    return tuple(dict.fromkeys(most))
