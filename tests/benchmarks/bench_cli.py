"""How long `aurora --help` takes, beside a bare typer program and the bare interpreter. Asked for: 0.25 s."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15
TYPER = "import typer; a = typer.Typer(); a.callback()(lambda: None); a.command('x')(lambda: None); a(['--help'])"


def median_s(command: list[str]) -> float:
    times = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main() -> None:
    interpreter = median_s([sys.executable, "-c", "pass"])
    typer = median_s([sys.executable, "-c", TYPER])
    ours = median_s([str(Path(sys.executable).with_name("aurora")), "--help"])
    print(f"interpreter          {interpreter:.3f} s")
    print(f"a bare typer program {typer:.3f} s   (floor)")
    print(f"aurora --help        {ours:.3f} s   ratio {ours / typer:.2f}")


if __name__ == "__main__":
    main()
