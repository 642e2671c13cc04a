"""`aurora import` of a table: rows a second, and memory.

Target: a million rows of CSV and of Parquet at 60,000 rows a second on two cores, in 400 MB. Floor, in the same run:
reading the same rows with the same reader and writing as many bytes.

    python tests/benchmarks/bench_import.py [rows, 1000000]
"""

import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
A_FOLDER = 1_000
CAPTION = 'Number {} shows, among others, a "thing" on a table in a room with a large window.'
MEASURED = """
import sys, time
from pathlib import Path
from aurora_cli.config.importing import ImportSettings
from aurora_cli.config.settings import Settings
from aurora_cli.pipeline.import_data.command import run
workspace, source = sys.argv[1:]
settings = Settings(workspace=Path(workspace), import_data=ImportSettings(sources=(source,), name="own"))
began = time.perf_counter()
result = run(settings)
seconds = time.perf_counter() - began
status = Path("/proc/self/status").read_text().splitlines()
print(result.kept, seconds, next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1e3)
"""


def make(folder: Path) -> None:
    """Empty files in folders of a thousand, and a table of each kind that names them."""
    rows = [(f"{at // A_FOLDER:05}/{at % A_FOLDER:05}.jpg", CAPTION.format(at)) for at in range(ROWS)]
    for below in sorted({name.partition("/")[0] for name, _ in rows}):
        (folder / below).mkdir()
    for name, _ in rows:
        (folder / name).touch()
    with open(folder / "rows.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        writer.writerows(rows)
    pq.write_table(
        pa.table({"image": [row[0] for row in rows], "caption": [row[1] for row in rows]}), folder / "rows.parquet"
    )


def floor_s(source: Path, written: int) -> float:
    """Seconds to read the rows and to write so many bytes."""
    began = time.perf_counter()
    if source.suffix == ".csv":
        with open(source, newline="", encoding="utf-8") as file:
            count = sum(1 for _ in csv.reader(file)) - 1
    else:
        with pq.ParquetFile(source) as table:
            batches = table.iter_batches(4_096)
            count = sum(len(list(zip(*map(pa.Array.to_pylist, batch.columns), strict=True))) for batch in batches)
    assert count == ROWS
    line = b"x" * (written // ROWS)
    with tempfile.TemporaryFile(dir=source.parent) as file:
        for _ in range(ROWS):
            file.write(line)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        for suffix in ("csv", "parquet"):
            workspace, source = folder / f"w-{suffix}", folder / f"rows.{suffix}"
            command = [sys.executable, "-c", MEASURED, str(workspace), str(source)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            kept, seconds, megabytes = map(float, done.stdout.split())
            assert kept == ROWS, done.stdout
            floor = floor_s(source, (workspace / "data/vision/own/own.jsonl").stat().st_size)
            print(
                f"{suffix:<8} {seconds:6.2f} s   floor {floor:6.2f} s   ratio {seconds / floor:5.1f}   "
                f"{ROWS / seconds:>9,.0f} rows/s (target >= 60,000)   {megabytes:5.0f} MB (target <= 400)"
            )


if __name__ == "__main__":
    main()
