"""A plan of packs that one process makes and all others of a run read: from a file in the run's folder, mapped.

Twenty million samples are planned in seconds and half a gigabyte; eight processes of a machine need not do it eight
times.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aurora_cli.data.batches.packing import Packs
from aurora_cli.errors import HostError
from aurora_cli.io.atomic import atomic_directory

LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class PlanShare:
    """Where plans are shared, and this process's part in it."""

    folder: Path
    """Empty before the first plan of a run: what lies in it counts."""
    rank: int
    timeout_s: float
    writer: int = 0
    """The rank that plans: one on each machine, where each has a folder of its own."""

    @property
    def writes(self) -> bool:
        return self.rank == self.writer

    def plan(self, name: str, make: Callable[[], Packs]) -> Packs:
        """The writer's plan of this name: made and written there, and mapped everywhere, there too.

        Raises:
            HostError: the writer has not written it in time.
        """
        path = self.folder / name
        if self.writes:
            packs = make()
            with atomic_directory(path) as partial:
                for field, values in zip(Packs._fields, packs, strict=True):
                    _write_array(partial / f"{field}.npy", values)
        began = time.monotonic()
        while not path.is_dir():
            if time.monotonic() - began > self.timeout_s:
                raise HostError(
                    f"rank {self.rank} has waited {self.timeout_s:g} s for rank {self.writer} to write {path}",
                    hint=f"Do both see the same folder? Rank {self.writer}'s own output says whether it is at work.",
                )
            time.sleep(LOOK_EVERY_S)
        return Packs(*(np.load(path / f"{field}.npy", mmap_mode="r") for field in Packs._fields))


def _write_array(path: Path, values: np.ndarray) -> None:
    """What `np.save` does; where the disk is full, its error does not say so."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
        file.write(np.ascontiguousarray(values).data)
