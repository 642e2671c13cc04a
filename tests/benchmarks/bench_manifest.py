"""A list of very many media: what it takes to find, of a file with captions of half of them, the rows to caption.

    python tests/benchmarks/bench_manifest.py [--rows 10000000] [--shard 0/8] [--format jsonl|csv|parquet]

Reads the captions and the list as `aurora caption --manifest` does, without a model; each in a process of its own, for
its peak of memory. The floor is reading the lines of both files.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEASURE = '''
import sys, time
from pathlib import Path
from aurora_cli.captioning.job.output import CaptionFile
from aurora_cli.captioning.job.rows import RowReader
from aurora_cli.config.share import Share

path, output, index, count, made_by = sys.argv[1:]


def peak():
    """kB of this process alone: `getrusage` has what it was before exec, too."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))


base = peak()
began, clock = time.process_time(), time.perf_counter()
reader = RowReader(Path(path), Path(path).parent, share=Share(int(index), int(count)))
file = CaptionFile(Path(output), made_by, reader.expected())
read = time.process_time()
new = 0
for row in reader.unmarked(file.keys):
    new += 1
    if new == 2:
        break  # one would be captioned now, and the next is read ahead
listed, took = time.process_time(), time.perf_counter() - clock
print(f"{read - began:.1f} {listed - read:.1f} {took:.1f} {base} {peak()}"
      f" {reader.total} {reader.own} {reader.done} {new}")
'''


def write_list(path: Path, rows: int) -> None:
    names = (f"videos/{number // 1000:05d}/{number:08d}.mp4" for number in range(rows))
    if path.suffix == ".jsonl":
        with open(path, "w") as file:
            for number, name in enumerate(names):
                start = number % 9 * 1.5
                file.write(f'{{"media": "{name}", "id": "v{number}", "span": [{start}, {start + 4}]}}\n')
    elif path.suffix == ".csv":
        with open(path, "w") as file:
            file.write("media,id,span\n")
            file.writelines(
                f"{name},v{number},{number % 9 * 1.5}-{number % 9 * 1.5 + 4}\n" for number, name in enumerate(names)
            )
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        spans = [[number % 9 * 1.5, number % 9 * 1.5 + 4] for number in range(rows)]
        table = pa.table({"media": list(names), "id": [f"v{number}" for number in range(rows)], "span": spans})
        pq.write_table(table, path, row_group_size=100_000)


def write_captions(path: Path, numbers: range) -> None:
    """As `aurora caption` writes them."""
    cost = {"prefill_s": 0.0084, "decode_s": 0.0163, "peak_memory_mb": 611.4}
    tail = json.dumps({"frames": 8, "visual_tokens": 64, "prompt_tokens": 15, "new_tokens": 12, "seconds": 0.028})[1:-1]
    with open(path, "w") as file:
        for number in numbers:
            start = number % 9 * 1.5
            file.write(
                f'{{"media": "videos/{number // 1000:05d}/{number:08d}.mp4", "kind": "video", "caption": "A red circle'
                f' moves to the left.", {tail}, "id": "v{number}", "span": [{start}, {start + 4}],'
                f' "cost": {json.dumps(cost)}, "made_by": "ab04cfb061c0db26"}}\n'
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--format", choices=("jsonl", "csv", "parquet"), default="jsonl")
    given = parser.parse_args()
    index, count = map(int, given.shard.split("/"))
    with tempfile.TemporaryDirectory() as folder:
        rows, captions = Path(folder, f"rows.{given.format}"), Path(folder, "captions.jsonl")
        write_list(rows, given.rows)
        write_captions(captions, range(index, given.rows // 2, count))
        began = time.process_time()
        for path in (rows, captions):
            with open(path, "rb") as file:
                for _ in file:
                    pass
        floor = time.process_time() - began
        words = [str(rows), str(captions), str(index), str(count), "ab04cfb061c0db26"]
        done = subprocess.run([sys.executable, "-c", MEASURE, *words], capture_output=True, text=True, check=True)
        read, listed, took, base, peak, total, own, reused, new = done.stdout.split()
        sizes = f"{rows.stat().st_size / 1e6:,.0f} MB of rows, {captions.stat().st_size / 1e6:,.0f} MB of captions"
        print(f"{given.format}, share {given.shard}: {sizes}")
        print(f"  read the captions {read} s, the list {listed} s of CPU, {took} s in all; floor {floor:.1f} s of CPU")
        print(f"  peak {int(peak) / 1024:,.0f} MB, of which {int(base) / 1024:,.0f} MB before")
        print(f"  {total} rows read, {own} of the share, {reused} captioned before, {new} looked at")


if __name__ == "__main__":
    main()
