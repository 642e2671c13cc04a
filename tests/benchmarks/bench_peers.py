"""Training beside what users would pick instead: CPU seconds a sample, peak memory, loss and logits, in one run.

A CLIP tower of 6 layers of 384 at 224 pixels and a Llama of 8 layers of 384 with 32,000 words (50 M weights, random),
of one and the same export, in float32, everything learning by AdamW; records of a JPEG of 640 x 480 (one in eight of
text alone) with an answer of 20 to 800 tokens, log-uniform. In every round each tool trains on few records and on all:
the difference is what a sample costs, without start-up. Peak memory is that of all processes together. Then the weights
of all are judged alike, by transformers, on records that none has seen; and every environment's transformers gives the
logits of one padded batch of the export, beside those of our packed forward.

Environments of other packages are made in `build/peers` (--install); a peer without one is left out. Asked for: 1.7
times as fast as the fastest peer, 2.3 times LLaMA-Factory, 3.8 times TRL, in 0.65 of the memory of the leanest; at kept
ratio 0.1 1.8 times our own 1.0. docs/peers_page.py makes a page of what --write keeps.

    python tests/benchmarks/bench_peers.py [--samples 80] [--few 16] [--rounds 1] [--threads 2] [--install]
                                           [--write docs/peers.json] [NAME ...]
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bench_caption_peer import make_export
from peers import figures, ours
from peers.measure import Cost, Failed, measured, run
from peers.records import plain_llava, write_records
from peers.tools import HERE, OTHERS, PEERS, Peer

ROOT = Path(__file__).parents[2]
KNOWN = PEERS | OTHERS
JUDGED = 16
"""Records that nothing trains on."""
OURS = {"aurora, kept ratio 1.0": (1.0, 1920, 2), "aurora, kept ratio 0.1": (0.1, 2048, 1)}
"""Kept ratio, tokens of a pack, packs a step: 8 samples, as the peers have. Two packs take as long as one of twice the
tokens, and less memory."""


class Bench:
    """The export and its records in a folder, and who takes part."""

    def __init__(self, root: Path, chosen: argparse.Namespace) -> None:
        self.root, self.threads = root, chosen.threads
        self.export = make_export(root, max(chosen.samples, JUDGED))
        self.plain = plain_llava(self.export, root / "plain")
        self.few, self.all = (write_records(root, f"records-{n}", n) for n in (chosen.few, chosen.samples))
        self.judged = write_records(root, "judged", JUDGED, seed=1)
        self.peers = {KNOWN[name].name: KNOWN[name] for name in chosen.names}
        self.pythons = {name: peer.python(chosen.environments, chosen.install) for name, peer in self.peers.items()}
        self.between = chosen.samples - chosen.few

    def present(self) -> dict[str, Peer]:
        return {name: peer for name, peer in self.peers.items() if self.pythons[name]}

    def leave_out(self, name: str, reason: Failed) -> None:
        """A peer that fails does not take the others' figures with it; ours may not fail."""
        if name in OURS:
            raise SystemExit(str(reason))
        print(f"{name}: left out, it failed: {reason}", flush=True)
        del self.peers[name]

    def cost(self, name: str) -> Cost:
        """Of a sample, and the peak of the run of all."""
        few, whole = (measured(self.command(name, records), self.threads) for records in (self.few, self.all))
        cost = Cost((whole.cpu_s - few.cpu_s) / self.between, whole.peak_mb)
        runs = f"whole runs {few.cpu_s:.0f} and {whole.cpu_s:.0f} CPU s"
        print(f"{name}: {cost.cpu_s:.3f} CPU s a sample, peak {cost.peak_mb:,.0f} MB ({runs})", flush=True)
        return cost

    def gflops(self, name: str) -> float:
        """Of a sample, ours."""
        few, whole = (
            ours.flops(ours.prepare(self.root, records, *OURS[name]), self.threads) for records in (self.few, self.all)
        )
        return round((whole - few) / self.between / 1e9, 2)

    def command(self, name: str, records: Path) -> list[str]:
        if name in OURS:
            return ours.prepare(self.root, records, *OURS[name])
        return self.peers[name].command(self.pythons[name], self.plain, records, self.root)

    def loss(self, name: str) -> float:
        """Of the weights of its last run, on what none has seen."""
        if name in OURS:
            model = ours.exported(self.root, self.all, OURS[name][0])
        else:
            model = self.peers[name].output(self.root)
            for file in self.plain.iterdir():  # a trainer that was given no processor leaves none
                if file.suffix in (".json", ".jinja") and not (model / file.name).exists():
                    (model / file.name).write_bytes(file.read_bytes())
        merges = "yes" if name in OURS and OURS[name][0] < 1 else "no"
        found = run([*judge("loss"), str(model), str(self.judged), str(self.root / "media"), merges], self.threads)
        return json.loads(found.splitlines()[-1])["loss"]

    def our_logits(self) -> np.ndarray:
        """Of one batch of the export, which is left beside them for the peers."""
        media = str(self.root / "media")
        run([*judge("inputs"), str(self.plain), str(self.judged), media, str(self.root / "inputs.npz")], self.threads)
        return ours.packed_logits(self.export, self.root / "inputs.npz")

    def judged_by(self, name: str, mine: np.ndarray) -> dict[str, Any]:
        """Its loss; of a peer also the largest difference of a logit from ours, and its versions."""
        if name in OURS:
            _, tokens, packs = OURS[name]
            how = f"{packs} x {tokens:,} tokens a step, packed"
            return {"settings": how, "gflops": self.gflops(name), "loss": self.loss(name)}
        words = [*judge("logits", str(self.pythons[name])), str(self.plain), str(self.root / "inputs.npz")]
        output = self.root / "logits.npy"
        versions = json.loads(run([*words, str(output)], self.threads).splitlines()[-1])
        theirs = np.load(output)
        off = {"logits_off": float(np.abs(mine - theirs).max()), "largest_logit": float(np.abs(theirs).max())}
        return {"settings": self.peers[name].settings, "loss": self.loss(name), **off, **versions}


def judge(what: str, python: str = ours.PYTHON) -> list[str]:
    return [python, str(HERE / "judge.py"), what]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(KNOWN)}; none: the first {len(PEERS)}")
    parser.add_argument("--samples", type=int, default=80)
    parser.add_argument("--few", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--environments", type=Path, default=ROOT / "build" / "peers")
    figures.add_options(parser)
    chosen = parser.parse_args()
    chosen.names = chosen.names or list(PEERS)
    if unknown := set(chosen.names) - set(KNOWN):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(KNOWN)}")
    if not 0 < chosen.few < chosen.samples:
        parser.error("--few must be less than --samples")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), chosen)
        for name in set(bench.peers) - set(bench.present()):
            print(f"{name}: left out, it has no environment in {chosen.environments} (--install makes it)", flush=True)
        rows: dict[str, list[Cost]] = {name: [] for name in (*OURS, *bench.present())}
        for _ in range(chosen.rounds):
            for name in [*OURS, *bench.present()]:
                try:
                    rows[name].append(bench.cost(name))
                except Failed as reason:
                    bench.leave_out(name, reason)
        mine = bench.our_logits()
        found: dict[str, dict[str, Any]] = {}
        for name in [*OURS, *bench.present()]:
            try:
                judged = bench.judged_by(name, mine)
            except Failed as reason:
                bench.leave_out(name, reason)
                continue
            found[name] = _of(rows[name]) | judged
            print(f"{name}: {', '.join(f'{key} {value}' for key, value in judged.items())}", flush=True)
    counts = {key: getattr(chosen, key) for key in ("samples", "few", "rounds", "threads")}
    figures.keep(chosen, "training", counts | {"rows": found})


def _of(costs: list[Cost]) -> dict[str, Any]:
    every = {"cpu_s": [cost.cpu_s for cost in costs], "peak_mb": [cost.peak_mb for cost in costs]}
    return {key: round(median(values), 4) for key, values in every.items()} | {
        f"each_{key}": [round(value, 4) for value in values] for key, values in every.items()
    }


if __name__ == "__main__":
    main()
