"""Share of a training run spent waiting for data: the tiny preset's stages on the drawings of `aurora demo`.

Asked for: 5 % with 2 loader processes. Beside it, the same without a loader process: what all the reading costs.

    python tests/benchmarks/bench_waiting.py [steps, 60]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
AURORA = [sys.executable, "-m", "aurora_cli"]
ONE_RUN = """
import sys, time
from aurora_cli.cli.app import main
from aurora_cli.data.batches.training_data import TrainingData

real = TrainingData.batches

def timed(self, *args, **named):
    steps, waited, began = real(self, *args, **named), 0.0, None
    while True:
        asked = time.perf_counter()
        try:
            step = next(steps)
        except StopIteration:
            return
        now = time.perf_counter()
        if began is None:
            began = now  # loader processes start once a run
        else:
            waited += now - asked
        yield step
        print("WAITED", waited, time.perf_counter() - began, file=sys.stderr)

TrainingData.batches = timed
sys.argv = ["aurora", *sys.argv[1:]]
main()
"""


def prepared(folder: Path) -> None:
    for words in (
        ["demo", "--prepare-only", "--images", "1500", "--videos", "1500"],
        ["download"],
        ["extract"],
        ["tokenize"],
        ["merge-shards"],
    ):
        subprocess.run([*AURORA, *words, "--workspace", str(folder)], check=True, capture_output=True)


def waiting(folder: Path, stage: str, workers: int) -> tuple[float, float]:
    """Seconds waited and trained, from the end of the first wait on."""
    words = ["train", "--stage", stage, "--max-steps", str(STEPS), "--resume", "never", "--workspace", str(folder)]
    words += ["--deepspeed", "none", "--set", f"data.workers={workers}"]
    done = subprocess.run([sys.executable, "-c", ONE_RUN, *words], capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("WAITED")]
    if done.returncode or not lines:
        raise SystemExit(done.stderr)
    _, waited, took = lines[-1].split()
    return float(waited), float(took)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared(folder)
        for stage in ("projection", "vision", "language"):
            for workers in (0, 2):
                waited_s, took_s = waiting(folder, stage, workers)
                print(
                    f"{stage:10} {workers} loader processes: {1000 * took_s / STEPS:6.1f} ms a step,"
                    f" {waited_s / took_s:5.1%} of it waiting"
                )


if __name__ == "__main__":
    main()
