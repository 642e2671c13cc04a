"""Weights in files, read one tensor at a time.

A set of weights is a plain dict of `LazyTensor` by name: laying one over another is `{**base, **top}`.
Nothing is read before `LazyTensor.read`; files are memory-mapped, so that a model need not fit into memory.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from aurora_cli.errors import DataError

_PIECE = 1 << 20
"""Values that are in memory at a time when a tensor passes in pieces."""


@dataclass(frozen=True)
class LazyTensor:
    """A tensor in a file, not read yet."""

    file: Path
    name: str
    """In its file; messages say it, whatever the tensor is called later."""
    shape: tuple[int, ...]
    dtype: torch.dtype
    """As the values are written; `load` may give another, wider or narrower."""
    load: Callable[[], torch.Tensor]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> torch.Tensor:
        """The values, mapped from the file where the format allows it.

        Raises:
            DataError: the file is damaged here, or the tensor holds NaN or an infinity.
        """
        tensor = self.load().detach().to(self.dtype)
        self._check(tensor)
        return tensor

    def between(self, begin: int, end: int) -> torch.Tensor:
        """Some of the values, laid out flat.

        Raises:
            DataError: as `read`, of these values.
        """
        values = self.load().detach().reshape(-1)[begin:end].to(self.dtype)
        self._check(values)
        return values

    def pieces(self) -> Iterator[torch.Tensor]:
        """The values one after the other, of which only a piece at a time is cast: for who writes them elsewhere.

        Raises:
            DataError: as `read`.
        """
        for piece in self.load().detach().reshape(-1).split(_PIECE):
            values = piece.to(self.dtype)
            self._check(values)
            yield values

    def cast(self, dtype: torch.dtype | None) -> "LazyTensor":
        """The same values in another floating-point type; integers stay as they are."""
        if dtype is None or not self.dtype.is_floating_point:
            return self
        return replace(self, dtype=dtype)

    def with_values(self, load: Callable[[], torch.Tensor], shape: tuple[int, ...] | None = None) -> "LazyTensor":
        """The same tensor with other values."""
        return replace(self, load=load, shape=self.shape if shape is None else shape)

    def _check(self, values: torch.Tensor) -> None:
        if values.is_floating_point() and values.numel() and self.dtype.itemsize > 1:
            low, high = (float(edge) for edge in values.aminmax())  # both become NaN if one value is
            if not (math.isfinite(low) and math.isfinite(high)):
                what = "NaN" if math.isnan(low) else "an infinity"
                raise DataError(f"{self.file}: tensor {self.name} holds {what}", hint="Take an earlier checkpoint.")


Tensors = dict[str, LazyTensor]


def in_memory(tensors: Mapping[str, torch.Tensor], meant_for: Path) -> Tensors:
    """What is not in a file yet, as if it were in that one."""
    return {
        name: LazyTensor(meant_for, name, tuple(tensor.shape), tensor.dtype, lambda tensor=tensor: tensor)
        for name, tensor in tensors.items()
    }


def rename(tensors: Tensors, name_of: Callable[[str], str | None]) -> Tensors:
    """The same tensors under `name_of(name)`; those without a new name are left out.

    Raises:
        DataError: two tensors get the same name.
    """
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        new = name_of(name)
        if new is None:
            continue
        if new in renamed:
            raise DataError(f"{tensor.file}: {name} and {renamed[new].name} are both {new}; one was expected")
        renamed[new] = tensor
    return renamed
