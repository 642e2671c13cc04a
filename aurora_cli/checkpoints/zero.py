"""Weights in a folder that DeepSpeed's ZeRO saved, put together from the parts of its ranks, one tensor at a time.

    mp_rank_00_model_states.pt              ZeRO 1 and 2: names and shapes of what trains, and all that is frozen
    zero_pp_rank_R_mp_rank_00_model_states.pt     ZeRO 3: the same, frozen weights in parts
    *zero_pp_rank_R_mp_rank_00_optim_states.pt    the fp32 weights that the optimizer steps, flat, rank R's share

In ZeRO 1 and 2 the ranks' flat vectors, one after the other, are the weights one after the other. In ZeRO 3 each weight
is cut into as many equal parts as there are ranks (the last one padded), and rank R's vector holds part R of each.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from aurora_cli.checkpoints.lazy_tensors import LazyTensor, Tensors
from aurora_cli.checkpoints.pickles import load_pickle
from aurora_cli.checkpoints.weight_files import open_pickle
from aurora_cli.errors import DataError


def is_zero(path: Path) -> bool:
    return path.is_dir() and _step_folder(path) is not None


def open_zero(path: Path) -> Tensors:
    """The weights by the names they have in the model that was trained; mapped, and joined as they are read.

    Raises:
        DataError: a rank's file is missing or damaged, or its parts do not fill the shapes.
    """
    folder = _step_folder(path)
    if folder is None:
        raise DataError(f"{path}: is not a folder of DeepSpeed's ZeRO; mp_rank_00_model_states.pt was expected in it")
    model_files, optimizer_files = _ranks(folder, "model"), _ranks(folder, "optim")
    if not optimizer_files:
        return open_pickle(model_files[0])
    states = [load_pickle(file) for file in model_files]
    flats = [_content(file, load_pickle(file), "optimizer_state_dict") for file in optimizer_files]
    count = flats[0].get("partition_count", len(flats))
    ranks = max(count) if isinstance(count, list) else count
    if ranks != len(flats):
        raise DataError(f"{folder}: {ranks} ranks wrote it, {len(flats)} of their *_optim_states.pt files are there")
    shapes = _content(model_files[0], states[0], "param_shapes")
    if "fp32_flat_groups" in flats[0]:
        tensors = dict(_zero3(folder, shapes, [flat["fp32_flat_groups"] for flat in flats]))
        tensors |= _frozen(folder, states, parts=True)
    else:
        key = "single_partition_of_fp32_groups"
        parts = [_content(file, flat, key) for file, flat in zip(optimizer_files, flats, strict=True)]
        tensors = dict(_zero2(folder, shapes, parts, flats[0].get("param_alignment_paddings")))
        tensors |= _frozen(folder, states[:1], parts=False)
    for alias, name in states[0].get("shared_params", {}).items():
        if name in tensors:
            tensors[alias] = tensors[name]
    return tensors


def _zero2(
    folder: Path, shapes: Sequence[Mapping[str, Sequence[int]]], ranks: list[list[torch.Tensor]], paddings: Any
) -> Iterator[tuple[str, LazyTensor]]:
    for group, named in enumerate(shapes):
        pieces = [rank[group] for rank in ranks]
        start = 0
        for number, (name, shape) in enumerate(named.items()):
            end = start + math.prod(shape)
            yield name, _joined(folder, name, shape, pieces, [(start, end)])
            start = end + (paddings[group][number] if paddings else 0)


def _zero3(
    folder: Path, shapes: Sequence[Mapping[str, Sequence[int]]], ranks: list[list[torch.Tensor]]
) -> Iterator[tuple[str, LazyTensor]]:
    pieces = [piece for rank in ranks for piece in rank]
    size = sum(piece.numel() for piece in ranks[0])
    start = 0
    for named in shapes:
        for name, shape in named.items():
            end = start + math.ceil(math.prod(shape) / len(ranks))
            yield (
                name,
                _joined(
                    folder,
                    name,
                    shape,
                    pieces,
                    [(rank * size + start, rank * size + end) for rank in range(len(ranks))],
                ),
            )
            start = end


def _frozen(folder: Path, states: list[Any], *, parts: bool) -> Tensors:
    shapes = states[0].get("frozen_param_shapes") or {}
    tensors: Tensors = {}
    for name, shape in shapes.items():
        pieces = [state["frozen_param_fragments"][name].flatten() for state in states]
        end = sum(piece.numel() for piece in pieces)
        tensors[name] = _joined(folder, name, shape, pieces, [(0, end if parts else math.prod(shape))])
    return tensors


def _joined(
    folder: Path, name: str, shape: Sequence[int], pieces: list[torch.Tensor], spans: list[tuple[int, int]]
) -> LazyTensor:
    """The values in `spans` of the vector that `pieces` make one after the other."""
    if max(end for _, end in spans) > sum(piece.numel() for piece in pieces):
        raise DataError(f"{folder}: the ranks' parts end before tensor {name} of shape {tuple(shape)} is full")
    return LazyTensor(folder, name, tuple(shape), pieces[0].dtype, partial(_join, tuple(shape), pieces, spans))


def _join(shape: tuple[int, ...], pieces: list[torch.Tensor], spans: list[tuple[int, int]]) -> torch.Tensor:
    found: list[torch.Tensor] = []
    for start, end in spans:
        offset = 0
        for piece in pieces:
            low, high = max(start - offset, 0), min(end - offset, piece.numel())
            if low < high:
                found.append(piece[low:high])
            offset += piece.numel()
    flat = found[0] if len(found) == 1 else torch.cat(found)
    return flat[: math.prod(shape)].view(shape)


def _ranks(folder: Path, what: str) -> list[Path]:
    """The files of one kind, in the order of their ranks."""

    def rank(path: Path) -> int:
        match = re.search(r"zero_pp_rank_(\d+)_", path.name)
        return int(match[1]) if match else -1

    return sorted(folder.glob(f"*_{what}_states.pt"), key=rank)


def _step_folder(path: Path) -> Path | None:
    """The folder with the ranks' files: this one, or the newest step's inside it, as `latest` says."""
    if any(path.glob("*mp_rank_00_model_states.pt")):
        return path
    latest = path / "latest"
    if latest.is_file():
        inner = path / latest.read_text(encoding="utf-8").strip()
        if any(inner.glob("*mp_rank_00_model_states.pt")):
            return inner
    return None


def _content(file: Path, state: Any, key: str) -> Any:
    if not isinstance(state, Mapping) or key not in state:
        raise DataError(f"{file}: lacks {key}; DeepSpeed's ZeRO 1, 2 or 3 writes it")
    return state[key]
