"""100,000 captions with 5 references: BLEU, ROUGE-L and CIDEr-D beside `pycocoevalcap`'s own, Java's start included.

Both cut words with Java's tokenizer and score; ours also draws its intervals, and writes its page. METEOR, where Java
aligns words for both, is compared apart, with a tenth of the captions. The peer needs pycocoevalcap and a Java.
Targets: at most 1.5 times the peer's time, 1 GB of memory.

    python tests/benchmarks/bench_evaluate.py [captions, 100000]
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics

import psutil

from aurora_cli.evaluation.tokens import find_ptb

CAPTIONS = int(float(sys.argv[1])) if len(sys.argv) > 1 else 100_000
WORDS = sorted({word.strip(".,()`*:") for word in " ".join(topics.values()).split() if word.isalpha()})[:6000]

PEER = """
import json, sys
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

rows = [json.loads(line) for line in open(sys.argv[1])]
references = PTBTokenizer().tokenize({r["id"]: [{"caption": t} for t in r["references"]] for r in rows})
captions = PTBTokenizer().tokenize({r["id"]: [{"caption": r["caption"]}] for r in rows})
scorers = [Meteor()] if sys.argv[2] == "meteor" else [Bleu(4), Rouge(), Cider()]
scores = [scorer.compute_score(references, captions)[0] for scorer in scorers]
print(json.dumps([float(each) for score in scores for each in (score if isinstance(score, list) else [score])]))
"""
OURS = "from aurora_cli.cli.app import main; main()"


def write(path: Path, captions: int) -> None:
    """Captions of 11 words, references that share most of them."""
    rng = random.Random(0)
    with open(path, "w") as file:
        for number in range(captions):
            scene = rng.choices(WORDS, k=12)
            texts = [
                " ".join(rng.choice(WORDS) if rng.random() < 0.3 else word for word in scene[:11]) for _ in range(6)
            ]
            row = {"id": number, "caption": f"A {texts[0]}.", "references": [f"The {text}." for text in texts[1:]]}
            file.write(json.dumps(row) + "\n")


def measured(arguments: list[str]) -> tuple[str, float, float, float]:
    """Output, seconds, CPU seconds, and GB of the largest of the tree's processes."""
    began = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    watched, peak, cpu = psutil.Process(process.pid), 0, {}
    while process.poll() is None:
        try:
            for each in (watched, *watched.children(recursive=True)):
                peak = max(peak, each.memory_info().rss)
                cpu[each.pid] = sum(each.cpu_times()[:2])
        except psutil.Error:
            pass
        time.sleep(0.05)
    output = process.stdout.read() if process.stdout else ""
    assert process.returncode == 0, arguments
    return output, time.perf_counter() - began, sum(cpu.values()), peak / 1e9


def compare(captions: int, names: tuple[str, ...]) -> None:
    """These metrics of so many captions, by the peer and by us."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.jsonl")
        write(rows, captions)
        peer, *of_peer = measured([sys.executable, "-c", PEER, str(rows), names[0]])
        command = ["evaluate", str(rows), "--references", str(rows), "--tokenizer", "ptb", "--output", folder, "--json"]
        chosen = [word for name in names for word in ("--metric", name)]
        ours, *of_ours = measured([sys.executable, "-c", OURS, *command, *chosen])
        metrics = json.loads(ours)["metrics"]
    scores = json.loads(peer.splitlines()[-1])
    apart = max(abs(metrics[name]["value"] - value) for name, value in zip(names, scores, strict=True))
    print(f"{captions:,} captions with 5 references, {', '.join(names)}: scores differ by at most {apart:.1e}")
    for name, (seconds, cpu, peak) in (("pycocoevalcap", of_peer), ("aurora evaluate", of_ours)):
        print(f"  {name:<16} {seconds:7.1f} s  {cpu:7.1f} s of CPU  {peak:5.2f} GB")
    print(f"  ours takes {of_ours[0] / of_peer[0]:.2f} of the peer's time (at most 1.5)")


def main() -> None:
    if find_ptb() is None:
        sys.exit("pycocoevalcap or Java is not installed: pip install 'aurora-cli[evaluate]'")
    compare(CAPTIONS, ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"))
    compare(CAPTIONS // 10, ("meteor",))


if __name__ == "__main__":
    main()
