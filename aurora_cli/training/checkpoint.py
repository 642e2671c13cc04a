"""Checkpoints of a run: whole or absent, and of no engine in particular.

    checkpoints/step-00000100/model.safetensors        fp32 weights of the trained parts
    checkpoints/step-00000100/checkpoint.json          what it is, and where the frozen parts come from
    checkpoints/step-00000100/resume/state.json        position, counts, and the settings that must not change
    checkpoints/step-00000100/resume/exp_avg.safetensors, exp_avg_sq.safetensors
    checkpoints/step-00000100/resume/scales.safetensors    of moments that are kept in 8 bits: <parameter>.0 and .1
    checkpoints/latest                                 the newest one's name

There is no scheduler and no generator to save: the learning rate, the order of samples and the random numbers of a
step are functions of the seed and the step.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from aurora_cli.errors import DataError
from aurora_cli.io.atomic import atomic_directory, write_text
from aurora_cli.io.safetensors_header import tensor_header
from aurora_cli.models.assign import Assign, assign_whole, values_of
from aurora_cli.runs.checkpoints import checkpoint_name, prune
from aurora_cli.runs.layout import LATEST, METADATA_FILE, MODEL_FILE, RESUME_FOLDER, SCALES_FILE, STATE_FILE
from aurora_cli.runs.metadata import CheckpointMetadata, TrainState
from aurora_cli.training.engine.zero_state import MOMENTS, ParameterState


class HasState(Protocol):
    """What of an engine a checkpoint needs."""

    @property
    def is_main(self) -> bool: ...
    def shapes(self) -> dict[str, tuple[int, ...]]: ...
    def state(self) -> Iterator[ParameterState]: ...
    def barrier(self) -> None: ...


def save(folder: Path, engine: HasState, metadata: CheckpointMetadata, state: TrainState, keep: int) -> Path:
    """Write a checkpoint into `folder`, name it the latest, and remove all but the `keep` newest. All ranks call it.

    Every parameter is put together, written and forgotten before the next: no process ever holds the whole model twice.
    """
    path = folder / checkpoint_name(state.step)
    if not engine.is_main:
        for _ in engine.state():
            pass
        engine.barrier()
        return path
    with atomic_directory(path) as partial, contextlib.ExitStack() as files:
        resume = partial / RESUME_FOLDER
        resume.mkdir()
        shapes = engine.shapes()
        weights = files.enter_context(tensor_file(partial / MODEL_FILE, shapes))
        moments = [files.enter_context(tensor_file(resume / f"{moment}.safetensors", shapes)) for moment in MOMENTS]
        scales: dict[str, torch.Tensor] = {}
        for one in engine.state():
            weights.write(one.weight)
            scales |= {f"{one.name}.{number}": scale.cpu().clone() for number, scale in enumerate(one.scales)}
            for file, moment in zip(moments, (one.exp_avg, one.exp_avg_sq), strict=True):
                file.write(moment)
        if scales:
            save_file(scales, resume / SCALES_FILE)
        state.write(resume / STATE_FILE)
        metadata.write(partial / METADATA_FILE)
    write_text(folder / LATEST, path.name + "\n")
    prune(folder, keep)
    engine.barrier()
    return path


class TrainingCheckpoint:
    """A checkpoint that a run goes on from."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            DataError: `path` is not a checkpoint that training can go on from.
        """
        self.path = path
        try:
            self.state = TrainState.read(path / RESUME_FOLDER / STATE_FILE)
        except DataError as error:
            raise DataError(
                f"{path}: is not a checkpoint to resume from: {error.message}",
                hint="Name a folder like runs/<stage>/checkpoints/step-00000100, or use --resume never.",
            ) from None

    def write_into(self, parameters: Mapping[str, torch.nn.Parameter], assign: Assign = assign_whole) -> None:
        """Give a network's parameters the weights that are saved; the others keep theirs."""
        with safe_open(self.path / MODEL_FILE, framework="pt") as file, torch.no_grad():
            for name in file.keys():  # noqa: SIM118
                if name in parameters:
                    assign(parameters[name], values_of(file.get_tensor(name)))

    def parameters(self, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[ParameterState]:
        """The state of exactly the parameters in `shapes`.

        Raises:
            DataError: the checkpoint holds others, or of other shapes.
        """
        paths = [self.path / MODEL_FILE, *(self.path / RESUME_FOLDER / f"{moment}.safetensors" for moment in MOMENTS)]
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(safe_open(path, framework="pt")) for path in paths]
            for path, file in zip(paths, files, strict=True):
                found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
                if found != dict(shapes):
                    odd = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
                    raise DataError(
                        f"{path}: does not fit what this stage trains: {odd[0]} is {found.get(odd[0], 'absent')},"
                        f" expected {shapes.get(odd[0], 'absent')} ({len(odd)} such tensors)",
                        hint="Was it saved by a stage that trains other parts? --resume never starts afresh.",
                    )
            scales_file = self.path / RESUME_FOLDER / SCALES_FILE
            scales = load_file(scales_file) if scales_file.is_file() else {}
            for name in shapes:
                own = tuple(scales[key] for key in (f"{name}.0", f"{name}.1") if key in scales)
                yield ParameterState(name, *(file.get_tensor(name) for file in files), scales=own)


class TensorFile:
    """A safetensors file being written tensor by tensor."""

    def __init__(self, file: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._file = file
        file.write(tensor_header((name, "F32", shape) for name, shape in shapes.items()))

    def write(self, tensor: torch.Tensor) -> None:
        """Append the next tensor, in the order of the names given at the beginning."""
        values = tensor.detach().to("cpu", torch.float32).contiguous().reshape(-1)
        self._file.write(memoryview(values.numpy()))  # pyrefly: ignore[bad-argument-type] - a numpy array is a buffer


@contextlib.contextmanager
def tensor_file(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[TensorFile]:
    """Write fp32 tensors of these names and shapes to `path`, in their order, with memory for one of them."""
    with open(path, "wb", buffering=1 << 20) as file:
        yield TensorFile(file, shapes)
