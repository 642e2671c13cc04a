"""The planners at the size of the published set and of a large cluster: 20 M records, 1 M media, 512 ranks, every one.

    python tests/benchmarks/bench_scale.py [--only NAME] [--records 20000000] [--media 1000000] [--ranks 512]

Each part runs in a process of its own, for its peak of memory, and checks what it made: the ranks' shares are disjoint,
and together the whole. Nothing is read or written but a folder of empty files and a list of them.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PACK_TOKENS, PACK_FRAMES, PACKS_A_RANK = 4096, 64, 2
A_FOLDER = 1000
RECORDS_A_SHARD = 10_000
ARCHIVES = 10_000


class Clock:
    """CPU seconds and memory of this process, part by part."""

    def __init__(self) -> None:
        self._began = time.process_time()
        self._before = peak_mb()

    def show(self, what: str, result: str) -> None:
        seconds, self._began = time.process_time() - self._began, time.process_time()
        print(f"  {what:46} {seconds:7.1f} s   {peak_mb():6,.0f} MB at most ({self._before:,.0f} before)   {result}")
        self._began = time.process_time()


def peak_mb() -> float:
    """Of this process alone: `getrusage` has what it was before exec, too."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def check(is_so: bool, what: str) -> None:
    if not is_so:
        raise SystemExit(f"NOT SO: {what}")


def packs(records: int, _media: int, ranks: int) -> None:
    """The plan of an epoch, and which packs of it each rank takes in every step."""
    from aurora_cli.data.batches.packing import plan_packs
    from aurora_cli.data.batches.sampler import PackRow, accumulation, positions, requests

    rng = np.random.default_rng(0)
    clock = Clock()
    lengths = np.exp(rng.uniform(np.log(30), np.log(2000), records)).astype(np.int32)
    frames = np.minimum(8, rng.geometric(0.7, records)).astype(np.int32)
    clock.show("records drawn", f"{records:,} of 30 to 2,000 tokens, 1 to 8 frames")
    whole = plan_packs(
        lengths, frames, pack_tokens=PACK_TOKENS, pack_frames=PACK_FRAMES, batching="packed", seed=0, epoch=0
    )
    full = float(lengths.sum(dtype=np.int64)) / (whole.num_packs * PACK_TOKENS)
    clock.show("planned into packs", f"{whole.num_packs:,} packs of {PACK_TOKENS:,} tokens, {full:.2%} full")
    each_once = np.zeros(records, np.uint8)
    each_once[whole.samples] = 1
    check(len(whole.samples) == records and bool(each_once.all()), "every record is in one pack")
    steps = -(-whole.num_packs // (PACKS_A_RANK * ranks))
    accumulations = accumulation(PACKS_A_RANK * ranks, ranks, 1)
    taken = np.zeros(steps * PACKS_A_RANK * ranks, np.uint8)
    for rank in range(ranks):
        for step in range(steps):
            for micro_batch in positions(step, rank, ranks, 1, accumulations):
                taken[micro_batch.start : micro_batch.stop] += 1
    check(bool((taken == 1).all()), "every pack is of one rank")
    clock.show(f"packs of {ranks} ranks, an epoch of {steps:,} steps", "disjoint, together all")
    row = PackRow(lambda epoch: whole, seed=0, block=1, constant=True)
    row.reach(0)
    mine = requests(
        row, range(steps), packs=whole.num_packs, rank=ranks - 1, world_size=ranks, micro=1, accumulations=accumulations
    )
    seen = sum(len(pack) for micro_batch in mine for pack in micro_batch)
    clock.show("samples of one rank, all steps", f"{seen:,} samples")


def media(_records: int, count: int, ranks: int) -> None:
    """A folder of files, as `aurora caption FOLDER` lists it, and the share of each rank."""
    from aurora_cli.captioning.job.request import named_rows
    from aurora_cli.config.share import Share
    from aurora_cli.console import SILENT

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(count):
            if number % A_FOLDER == 0:
                (below := root / "media" / f"{number // A_FOLDER:05d}").mkdir(parents=True)
            (below / f"{number:08d}.jpg").touch()
        clock = Clock()
        rows = named_rows(("media",), root, SILENT)
        check(len({row.medium.name for row in rows}) == len(rows) == count, "every file is listed once")
        clock.show("listed", f"{count:,} media in {count // A_FOLDER:,} folders")
    taken = np.zeros(count, np.uint16)
    sizes = []
    for index in range(ranks):
        share = Share(index, ranks)
        own = [position for position in range(len(rows)) if share.takes(position)]
        taken[own] += 1
        sizes.append(len(own))
    check(bool((taken == 1).all()), "every medium is of one rank")
    clock.show(f"shares of {ranks} ranks", f"{min(sizes):,} to {max(sizes):,} media each; disjoint, together all")


def manifest(_records: int, count: int, ranks: int) -> None:
    """A list of media, as each rank of `aurora caption --manifest` reads it."""
    from aurora_cli.captioning.job.caption_keys import CaptionKeys
    from aurora_cli.captioning.job.row_values import blocks_of
    from aurora_cli.captioning.job.rows import RowReader
    from aurora_cli.config.share import Share

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "media.jsonl")
        with open(path, "w") as file:
            file.writelines(
                f'{{"media": "videos/{n // A_FOLDER:05d}/{n:08d}.mp4", "id": "v{n}"}}\n' for n in range(count)
            )
        clock = Clock()
        reader = RowReader(path, path.parent, share=Share(0, ranks))
        keys = CaptionKeys(with_lines=True)
        keys.reserve(reader.expected())
        new = sum(1 for _ in reader.unmarked(keys))
        clock.show("share of one rank, each of its rows looked at", f"{new:,} of {reader.total:,} rows")
        lines = np.zeros(count + 1, np.uint16)
        sizes = []
        for index in range(ranks):
            own = np.concatenate([block.lines for block in blocks_of(path, Share(index, ranks))])
            lines[own] += 1
            sizes.append(len(own))
        check(bool((lines[1:] == 1).all()), "every row is of one rank")
        clock.show(f"shares of {ranks} ranks", f"{min(sizes):,} to {max(sizes):,} rows each; disjoint, together all")


def units(records: int, _media: int, ranks: int) -> None:
    """Shards of records to tokenize, and archives to download and extract."""
    from aurora_cli.config.share import Share, balanced_shares
    from aurora_cli.data.token_store.shares import shared_work

    clock = Clock()
    shards = -(-records // RECORDS_A_SHARD)
    work = shared_work(Path("vision/m3it"), ranks)
    made = [[shard for shard in range(shards) if work.is_made_by(Share(index, ranks), shard)] for index in range(ranks)]
    check(sorted(shard for own in made for shard in own) == list(range(shards)), "every shard is made by one rank")
    few, many = min(map(len, made)), max(map(len, made))
    clock.show(f"shards of {ranks} ranks", f"{shards:,} of {RECORDS_A_SHARD:,} records; {few} to {many} each")
    sizes = np.random.default_rng(0).integers(1, 842, ARCHIVES).tolist()  # MB: 4.2 TB in all
    shares = balanced_shares(sizes, ranks)
    loads = np.bincount(shares, sizes, ranks)
    check(len(shares) == ARCHIVES and loads.sum() == sum(sizes), "every archive is of one rank")
    result = f"{ARCHIVES:,} of {sum(sizes) / 1e6:.1f} TB; {loads.min():,.0f} to {loads.max():,.0f} MB each"
    clock.show(f"archives of {ranks} ranks", result)


PARTS: dict[str, Callable[[int, int, int], None]] = {
    "packs": packs,
    "media": media,
    "manifest": manifest,
    "units": units,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--records", type=lambda text: int(float(text)), default=20_000_000)
    parser.add_argument("--media", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--ranks", type=int, default=512)
    given = parser.parse_args()
    if given.only:
        print(f"{given.only}: {PARTS[given.only].__doc__}", flush=True)
        PARTS[given.only](given.records, given.media, given.ranks)
        return
    for name in PARTS:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", name], check=True)


if __name__ == "__main__":
    main()
