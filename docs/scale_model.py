"""The model in docs/scale.md: what each step asks of network, disk and metadata server. docs/reference.py writes it.

Bytes and operations follow from the assumptions and from how aurora works; seconds from the cluster's rates. Times say
what a resource takes by itself at its full rate: a step takes as long as its slowest one, at least.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent / "scale.md"
HARDWARE = Path(__file__).parent / "hardware.md"
NODES = (1, 8, 64)

RECORDS = 20e6
MEDIA_BYTES = 4e12
ANNOTATION_BYTES = 19e9
PART_BYTES = 42.9e9
TOKENS_A_RECORD = 469
"""Mean of log-uniform lengths from 30 to 2,000, as `tests/benchmarks/bench_scale.py` plans: 1970 / ln(2000 / 30)."""
PACK_TOKENS = 4096
FRAMES_A_RECORD = 1.43
"""Mean of what `bench_scale.py` draws."""
FRAME_PATCHES = 730

TOKEN_BYTES = 8
"""Id and label, 4 bytes each."""
RECORDS_A_SHARD = 100_000
FILES_A_SHARD = 6
CAPTION_BYTES = 340
"""A line of `tests/benchmarks/bench_manifest.py`."""
ROW_BYTES = 78
"""Of a list of media, likewise."""

MADE = 2
"""Operations to make a file: under another name, then renamed."""
OPS_A_MEMBER = 3
"""Of `extract`, layout `files`: made, renamed, its time set. Held by tests/unit/docs/test_scale.py."""
OPS_A_READ = 1
"""Opened. Likewise."""

GPUS = 8
WAN, LINK = 10e9 / 8, 400e9 / 8
DISK_READ, DISK_WRITE, METADATA = 10e9, 10e9, 20_000.0
FLOPS = 0.4 * 989e12
CHECKPOINT_EVERY = 100


class Network(NamedTuple):
    """Weights of the language stage, as docs/hardware.md has them."""

    weights: float
    tower: float
    checkpoint_bytes: float


class Load(NamedTuple):
    """What a step asks of all nodes together."""

    step: str
    wan: float = 0.0
    """Bytes from the hub."""
    link: float = 0.0
    """Bytes that each node sends to the others."""
    read: float = 0.0
    written: float = 0.0
    """Bytes of the shared disk."""
    operations: float = 0.0
    """Of its metadata server: files made, renamed, opened."""
    computing_s: float = 0.0
    """Of the GPUs, where that is known."""

    @property
    def times(self) -> dict[str, float]:
        """Seconds of each resource by itself."""
        return {
            "computing": self.computing_s,
            "hub": self.wan / WAN,
            "network": self.link / LINK,
            "reading": self.read / DISK_READ,
            "writing": self.written / DISK_WRITE,
            "metadata": self.operations / METADATA,
        }

    @property
    def slowest(self) -> tuple[str, float]:
        return max(self.times.items(), key=lambda item: item[1])


class Training(NamedTuple):
    """One optimizer step, a pack a GPU."""

    compute_s: float
    sent: float
    """Bytes that a node sends: bf16 gradients summed and weights gathered, a ring over the nodes."""
    read: float
    """Bytes of media, all nodes."""
    opened: float
    """Media, all nodes."""

    @property
    def step_s(self) -> float:
        """Computing, and sending behind it: nothing overlaps."""
        return self.compute_s + self.sent / LINK


def network() -> Network:
    text = HARDWARE.read_text("utf-8")
    rows = {cells[1].strip(): [each.strip() for each in cells] for cells in map(_cells, text.splitlines()) if cells}
    recipe = re.findall(r"^\| (vision|language) \| [^|]*\| (\d+\.\d+) \|", text, re.MULTILINE)
    trained = {stage: float(billions) * 1e9 for stage, billions in recipe}
    return Network(trained["language"], trained["vision"], float(rows["language"][6]) * 1e9)


def _cells(line: str) -> list[str]:
    cells = line.split("|")
    return cells if len(cells) == 8 and "GB" in cells[2] and "add" not in cells[3] else []


def training(nodes: int, of: Network) -> Training:
    samples = PACK_TOKENS / TOKENS_A_RECORD
    language, tower = of.weights - of.tower, of.tower
    flops = 8 * (language * PACK_TOKENS + tower * samples * FRAMES_A_RECORD * FRAME_PATCHES)
    sent = 2 * 2 * of.weights * (nodes - 1) / nodes
    packs = nodes * GPUS
    return Training(flops / FLOPS, sent, packs * samples * MEDIA_BYTES / RECORDS, packs * samples)


def loads(nodes: int, of: Network) -> list[Load]:
    """Of every step, once over all of the data."""
    processes = nodes * GPUS
    archives = MEDIA_BYTES / PART_BYTES
    shards = RECORDS / RECORDS_A_SHARD
    steps = RECORDS * TOKENS_A_RECORD / PACK_TOKENS / processes
    step = training(nodes, of)
    saved = steps / CHECKPOINT_EVERY
    sent, computing_s = steps * step.sent, steps * step.compute_s
    return [
        Load("download", wan=MEDIA_BYTES, written=MEDIA_BYTES, operations=archives * MADE),
        Load(
            "extract, files",
            read=MEDIA_BYTES,
            written=MEDIA_BYTES,
            operations=RECORDS * OPS_A_MEMBER,
        ),
        Load("extract, index", read=MEDIA_BYTES, written=MEDIA_BYTES, operations=2 * archives * MADE),
        Load(
            "tokenize",
            read=ANNOTATION_BYTES * nodes,
            written=RECORDS * TOKENS_A_RECORD * TOKEN_BYTES,
            operations=shards * FILES_A_SHARD * MADE,
        ),
        Load("train, files", 0, sent, MEDIA_BYTES, operations=RECORDS * OPS_A_READ, computing_s=computing_s),
        Load("train, index", 0, sent, MEDIA_BYTES, operations=2 * archives * processes, computing_s=computing_s),
        Load("its checkpoints", written=saved * of.checkpoint_bytes, operations=saved * processes * MADE),
        Load(
            "caption, files",
            read=MEDIA_BYTES + nodes * (2 * of.weights + RECORDS * ROW_BYTES) + RECORDS * CAPTION_BYTES,
            written=2 * RECORDS * CAPTION_BYTES,
            operations=RECORDS * OPS_A_READ,
        ),
    ]


def pages() -> dict[Path, str]:
    """The page, as it should be."""
    text, of = PAGE.read_text("utf-8"), network()
    for name, rows in (("assumptions", assumptions(of)), ("training", steps(of)), ("steps", tables(of))):
        begin, end = f"<!-- {name}: written by docs/scale_model.py -->", f"<!-- {name}: end -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = "\n".join([f"{before}{begin}", "", *rows, "", f"{end}{after}"])
    return {PAGE: text}


def assumptions(of: Network) -> Iterator[str]:
    yield from ("| assumed | | |", "| --- | --: | --- |")
    rows = (
        ("media", f"{MEDIA_BYTES / 1e12:g} TB", f"{RECORDS:,.0f} records, {MEDIA_BYTES / RECORDS / 1e3:,.0f} kB each"),
        ("archives", f"{MEDIA_BYTES / PART_BYTES:,.0f}", f"of {PART_BYTES / 1e9:g} GB, as large as the set's parts"),
        ("annotations", f"{ANNOTATION_BYTES / 1e9:g} GB", "of the published set"),
        ("tokens a record", f"{TOKENS_A_RECORD:,}", f"{FRAMES_A_RECORD:g} frames; packs of {PACK_TOKENS:,} tokens"),
        (
            "weights",
            f"{of.weights / 1e9:g} billion",
            f"[language stage](hardware.md), {of.tower / 1e9:g} of them tower",
        ),
        ("a checkpoint", f"{of.checkpoint_bytes / 1e9:g} GB", f"every {CHECKPOINT_EVERY} steps"),
        ("a node", f"{GPUS} GPUs", f"{FLOPS / 1e12:,.0f} TFLOP/s each; a pack a GPU and step; recomputation"),
        ("hub", f"{WAN * 8 / 1e9:g} Gbit/s", "the link that all nodes share"),
        ("network", f"{LINK * 8 / 1e9:g} Gbit/s", "a node, to the others"),
        ("shared disk", f"{DISK_READ / 1e9:g} GB/s", "reading, and as much writing, all nodes together"),
        ("its metadata", f"{METADATA:,.0f} a second", "files made, renamed or opened, all nodes together"),
    )
    yield from (f"| {name} | {value} | {about} |" for name, value, about in rows)


def steps(of: Network) -> Iterator[str]:
    yield "| nodes | GPUs | computing | sent a node | of it waiting | media read | opened, layout `files` |"
    yield "| --: | --: | --: | --: | --: | --: | --: |"
    for nodes in NODES:
        step = training(nodes, of)
        yield (
            f"| {nodes} | {nodes * GPUS} | {step.compute_s:.2f} s | {step.sent / 1e9:,.1f} GB"
            f" | {step.sent / LINK / step.step_s:.0%} | {step.read / step.step_s / 1e6:,.0f} MB/s"
            f" | {step.opened / step.step_s:,.0f} a second |"
        )


def tables(of: Network) -> Iterator[str]:
    for number, nodes in enumerate(NODES):
        if number:
            yield ""
        yield f"**{nodes} {'node' if nodes == 1 else 'nodes'}, {nodes * GPUS} processes**"
        yield ""
        yield "| step | from the hub | sent a node | read | written | operations | its slowest |"
        yield "| --- | --: | --: | --: | --: | --: | --- |"
        for load in loads(nodes, of):
            what, seconds = load.slowest
            values = (load.wan, load.link, load.read, load.written)
            cells = [*(size(value) for value in values), f"{load.operations:,.0f}", f"{what}, {duration(seconds)}"]
            yield f"| {load.step} | {' | '.join(cells)} |"


def size(value: float) -> str:
    """
    >>> size(4e12), size(75.04e9), size(0.0)
    ('4.0 TB', '75 GB', '')
    """
    if not value:
        return ""
    return f"{value / 1e12:,.1f} TB" if value >= 1e12 else f"{value / 1e9:,.0f} GB"


def duration(seconds: float) -> str:
    """
    >>> duration(0.2), duration(75), duration(3000), duration(10800)
    ('under 1 s', '75 s', '50 min', '3.0 h')
    """
    if seconds < 1:
        return "under 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
