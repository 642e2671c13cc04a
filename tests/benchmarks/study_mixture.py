"""One model for several kept ratios beside one for each: same start, steps and tokens, scored by `aurora evaluate`.

A workspace with the drawn set of `small_shapes.py` is made in FOLDER. One run at `START_RATIO` is where all others
start. Then, for each seed, the language stage is trained once at all ratios and once at each alone; each is evaluated
on images that were kept back, the mixed one at all ratios, the others at their own, the one for `REFERENCE` at all,
too. Asked for: the mixed model within 2 points of the single one at each ratio, and better at 0.5 and 1 than the one
for `REFERENCE` is there.

    python tests/benchmarks/study_mixture.py FOLDER [--seeds 3] [--distill]

Weights and steps were chosen by other images than those that are reported: `--seeds 1 --selection`, in a folder of its
own for every choice, scores on those (`--weights`, `--steps`, `--start-steps`).

What is done is not done again: the study goes on where it was stopped. `study.json` in FOLDER has all scores and costs;
`docs/mixture_figure.py` makes the tables and the drawing of the docs from it. `--distill` adds mixed runs that learn
their small ratios from the largest, too (`train.distill_ratio`).
"""

import argparse
import importlib
import json
import os
import re
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from small_shapes import HELD_OUT, PROMPTS, REFERENCES, SELECTION, write_workspace

from aurora_cli.cli import app
from aurora_cli.io.atomic import write_json

RATIOS = (0.05, 0.1, 0.25, 0.5, 1.0)
REFERENCE = 0.1
WEIGHTS = (16, 4, 1, 1, 1)
"""Where all start, 0.25 and more are nearly learned: most of what is left is at few tokens."""
METRICS = ("rouge_l", "bleu_4", "cider")
START, START_RATIO = "start", 0.5
PACK_TOKENS = 1024
"""A step is one pack: of 11 samples at ratio 1, of 25 at 0.05."""
LR = 2e-3
TRAINED = ("projector", "vision_tower", "language_model")
IMPORTED = ("train.process", "caption.command", "evaluate.command")


@dataclass(frozen=True)
class Study:
    """A workspace and what is done in it."""

    workspace: Path
    found: dict[str, Any]
    """Run -> what it took, and its scores by ratio."""
    kept_back: str = HELD_OUT
    """The folder of the images that it is scored on."""

    @property
    def file(self) -> Path:
        return self.workspace / "study.json"

    def aurora(self, *words: str) -> float:
        """The CPU seconds of a command, in a process of its own that has all imports already."""
        sys.stdout.flush()
        if (child := os.fork()) == 0:
            log = os.open(self.workspace / "study.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os._exit(app.run([*words, "--workspace", str(self.workspace), "--quiet"]))
        _, status, used = os.wait4(child, 0)
        if status:
            sys.exit(f"{' '.join(words)}: {(self.workspace / 'study.log').read_text()}")
        return used.ru_utime + used.ru_stime

    def train(self, run: str, ratio: str, steps: int, seed: int, **settings: object) -> None:
        """Unless it is done."""
        if run in self.found:
            return
        changes = {
            "train.seed": seed,
            "train.max_steps": steps,
            "train.after": "null",
            "train.samples_every": 0,
            **{f"train.{part}.lr": LR for part in TRAINED},
            "train.pack_tokens": PACK_TOKENS,
            "train.global_batch_packs": 1,
            "train.micro_batch_packs": 1,
            "data.workers": 0,
            "checkpoint.every": steps,
            **settings,
        }
        sets = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
        cpu_s = self.aurora(
            *("train", "--stage", "language", "--run-dir", f"runs/{run}", "--token-kept-ratio", ratio),
            *("--num-processes", "1", *sets),
        )
        lines = [
            json.loads(line) for line in (self.workspace / "runs" / run / "metrics.jsonl").read_text().splitlines()
        ]
        steps_at: dict[str, int] = {}
        for line in lines:
            at = f"{line.get('kept_ratio') or float(ratio):g}"
            steps_at[at] = steps_at.get(at, 0) + 1
        self.found[run] = {
            "cpu_s": round(cpu_s, 1),
            "steps": len(lines),
            "steps_at": steps_at,
            "tokens": sum(line["tokens"] for line in lines),
            "samples": sum(line["samples"] for line in lines),
            "fill": round(sum(line["tokens"] for line in lines) / (len(lines) * PACK_TOKENS), 4),
        }
        write_json(self.file, self.found)

    def evaluate(self, run: str, ratios: tuple[float, ...]) -> None:
        """At each of the ratios, unless it is done."""
        if "scores" in self.found[run]:
            return
        flags = [word for ratio in ratios for word in ("--token-kept-ratio", f"{ratio:g}")]
        output = self.workspace / "evaluation" / run
        cpu_s = self.aurora(
            *("evaluate", "--model", f"runs/{run}", "--references", f"{self.kept_back}/{REFERENCES}", *flags),
            *("--tokenizer", "python", "--batch-size", "50", "--output", str(output)),
        )
        curve = json.loads((output / "evaluation.json").read_text())["curve"]
        truth = _captions(self.workspace / self.kept_back / REFERENCES)
        self.found[run]["evaluate_cpu_s"] = round(cpu_s, 1)
        self.found[run]["scores"] = {
            f"{point['token_kept_ratio']:g}": {
                **{name: point["metrics"][name]["value"] for name in METRICS},
                "words": _words_right(truth, _captions(output / Path(point["captions"]).name)),
                "tokens": point["cost"]["tokens_per_frame"],
            }
            for point in curve
        }
        write_json(self.file, self.found)


def _captions(file: Path) -> dict[str, str]:
    """Image -> what is said of it."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return {
        Path(row.get("id") or row["media"]).name: row["references"][0] if "references" in row else row["caption"]
        for row in rows
    }


def _said(caption: str) -> dict[str, str]:
    """
    >>> _said("red at the top left, blue at the centre.")
    {'top left': 'red', 'centre': 'blue'}
    """
    return {place: colour for colour, place in re.findall(r"(\w+) at the ([\w ]+)[,.]", caption)}


def _words_right(truth: dict[str, str], captions: dict[str, str]) -> float:
    """Share of the circles of which the caption says the right colour at the right place."""
    return mean(
        _said(captions[image]).get(place) == colour
        for image, caption in truth.items()
        for place, colour in _said(caption).items()
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--start-steps", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--weights", type=int, nargs=len(RATIOS), default=WEIGHTS)
    parser.add_argument("--distill", action="store_true")
    parser.add_argument("--selection", action="store_true")
    given = parser.parse_args()
    file = given.workspace / "study.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    study = Study(given.workspace, found, SELECTION if given.selection else HELD_OUT)
    mixture = f"{{ratios: {list(RATIOS)}, weights: {list(given.weights)}}}"
    if not (given.workspace / "tokenized").exists():
        write_workspace(given.workspace, images=6000, held_out=200)
        study.aurora("import", "drawn/captions.jsonl", "--split", "language", "--as", "shapes", "--prompts", PROMPTS)
        study.aurora("tokenize", "--batch-size", "100000")
        study.aurora("merge-shards")
    for module in IMPORTED:
        importlib.import_module(f"aurora_cli.pipeline.{module}")
    study.train(START, f"{START_RATIO:g}", given.start_steps, 0)
    start = {"train.init_from": f"runs/{START}"}
    seeds = range(given.seeds)
    for seed in seeds:
        study.train(f"mixed-{seed}", mixture, given.steps, seed, **start)
        study.evaluate(f"mixed-{seed}", RATIOS)
    # What is asked for can be seen before all is done.
    singles = [(seed, REFERENCE) for seed in seeds] + [*product(seeds, (each for each in RATIOS if each != REFERENCE))]
    for seed, ratio in singles:
        study.train(f"own-{ratio:g}-{seed}", f"{ratio:g}", given.steps, seed, **start)
        study.evaluate(f"own-{ratio:g}-{seed}", RATIOS if ratio == REFERENCE else (ratio,))
    for seed in seeds if given.distill else ():
        study.train(f"distilled-{seed}", mixture, given.steps, seed, **start, **{"train.distill_ratio": 1.0})
        study.evaluate(f"distilled-{seed}", RATIOS)


if __name__ == "__main__":
    main()
