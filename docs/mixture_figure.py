"""Make the drawing of training.md, one model for several kept ratios beside one for each, and print its tables.

python docs/mixture_figure.py FOLDER/study.json      (of tests/benchmarks/study_mixture.py)
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from aurora_cli.reports.charts import line_chart
from aurora_cli.reports.curve import standalone

FIGURE = Path(__file__).parent / "images" / "mixture-curve.svg"
REFERENCE = "0.1"
DRAWN = "bleu_4"
ASKED_FOR = 2.0
"""Points of 100 that the model for all may be below the one for a ratio."""


def main() -> None:
    runs: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    seeds = sorted(int(name.removeprefix("mixed-")) for name in runs if name.startswith("mixed-"))
    ratios = [*runs["mixed-0"]["scores"]]
    kinds: dict[str, Callable[[int, str], str]] = {
        "one model for all": lambda seed, _: f"mixed-{seed}",
        "one for each": lambda seed, ratio: f"own-{ratio}-{seed}",
        f"the one for {REFERENCE}": lambda seed, _: f"own-{REFERENCE}-{seed}",
    }
    if "distilled-0" in runs:
        kinds["with train.distill_ratio"] = lambda seed, _: f"distilled-{seed}"

    def points(kind: str, ratio: str, metric: str) -> list[float]:
        found = [runs[name]["scores"][ratio] for seed in seeds if (name := kinds[kind](seed, ratio)) in runs]
        return [(10 if metric == "cider" else 100) * each[metric] for each in found]

    for metric in ("rouge_l", "bleu_4", "cider", "words"):
        print(f"\n{metric}, of 100: the mean (the lowest to the highest seed)\n")
        print(f"| kept ratio | tokens | {' | '.join(kinds)} | within {ASKED_FOR:g} |")
        print("| --: " * (len(kinds) + 3) + "|")
        for ratio in ratios:
            cells = [points(kind, ratio, metric) for kind in kinds]
            shown = [f"{mean(each):.1f} ({min(each):.1f} to {max(each):.1f})" if each else "" for each in cells]
            below = mean(cells[1] or [100.0]) - mean(cells[0])  # without a run of its own: below what none can exceed
            tokens = runs["mixed-0"]["scores"][ratio]["tokens"]
            holds = "yes" if below <= ASKED_FOR else "no"
            print(f"| {ratio} | {tokens:.0f} | {' | '.join(shown)} | {holds}, {-below:+.1f} |")
    columns = ("run", "CPU s", "evaluated, CPU s", "steps", "tokens", "samples", "fill")
    print(f"\n| {' | '.join(columns)} |\n| --- {'| --: ' * (len(columns) - 1)}|")
    for kind in ("start", "mixed", *(f"own-{ratio}" for ratio in ratios), "distilled"):
        some = [run for name, run in runs.items() if name == kind or name.rpartition("-")[0] == kind]
        if some:
            took = [
                mean(run.get(key, 0.0) for run in some)
                for key in ("cpu_s", "evaluate_cpu_s", "steps", "tokens", "samples", "fill")
            ]
            print("| {} | {:.0f} | {:.0f} | {:.0f} | {:,.0f} | {:,.0f} | {:.1%} |".format(kind, *took))
    curves = {
        kind: [
            (runs["mixed-0"]["scores"][ratio]["tokens"], mean(found))
            for ratio in ratios
            if (found := points(kind, ratio, DRAWN))
        ]
        for kind in [*kinds][:3]
    }
    curves = {kind: line for kind, line in curves.items() if len(line) > 1}  # of a study that is not done
    drawing = line_chart(curves, name="BLEU-4 by visual tokens a frame", axis="visual tokens a frame", width=620)
    FIGURE.write_text(standalone(drawing))


if __name__ == "__main__":
    main()
