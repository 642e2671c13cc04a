"""The page beside other tools: its ratios by hand, and a target that is missed is called so."""

import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RAN = {"busy": False, "threads": 2, "rounds": 3, "machine": "2 cores", "command": "tests/benchmarks/bench_x.py"}


def row(cpu_s: float, peak_mb: float, **more: object) -> dict[str, object]:
    return {"cpu_s": cpu_s, "peak_mb": peak_mb, "loss": 5.0, "settings": "packs", **more}


def peer(cpu_s: float, peak_mb: float, off: float) -> dict[str, object]:
    return row(cpu_s, peak_mb, logits_off=off, largest_logit=2.0, transformers="5", torch="2")


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("peers_page").page


def test_ratios_are_to_the_fastest_peer_and_memory_to_the_leanest(page) -> None:
    rows = {
        "aurora, kept ratio 1.0": row(1.0, 2600.0),
        "aurora, kept ratio 0.1": row(0.5, 2000.0),
        "transformers Trainer": peer(1.6, 5000.0, 1e-6),
        "LLaMA-Factory 0.9.5": peer(2.5, 4000.0, 3e-6),
        "TRL 1.16 SFTTrainer": peer(3.0, 6000.0, 2e-6),
    }
    text = page({"training": {**RAN, "few": 2, "samples": 4, "rows": rows}})
    assert "| times as fast as transformers Trainer, the fastest | >= 1.7 | 1.60 | missed |" in text
    assert "| times as fast as LLaMA-Factory 0.9.5 | >= 2.3 | 2.50 | holds |" in text
    assert "| times as fast as TRL 1.16 SFTTrainer | >= 3.8 | 3.00 | missed |" in text
    assert "| peak memory, of that of LLaMA-Factory 0.9.5, the leanest | <= 0.65 | 0.65 | holds |" in text
    assert "| at 0.1: times as fast as transformers Trainer | >= 3 | 3.20 | holds |" in text
    assert "| at 0.1: times as fast as at 1.0 | >= 1.8 | 2.00 | holds |" in text
    assert "to 3e-06" in text
    assert "medians of 3 rounds" in text


def test_growth_says_by_how_much_and_a_busy_machine_is_told(page) -> None:
    few = {"records": 100, "anonymous_mb": 100.0, "peak_mb": 120.0}
    many = {"records": 2000, "anonymous_mb": 110.0, "peak_mb": 180.0}
    growth = {"times": 20, "steps": 5, "rows": {"train": [few, many]}}
    text = page({"growth": {**RAN, **growth, "busy": True}})
    assert "| `train` | 100 | 100 | 120 | 2,000 | 110 | 180 | 10.0% |" in text
    assert "preliminary" in text
    assert "## Training" not in text


@pytest.mark.parametrize("lines", range(3, 40, 9))
def test_records_are_as_long_on_average_however_many_there_are(monkeypatch, lines: int) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests" / "benchmarks")
    records = importlib.import_module("peers.records")
    made = records.make_records(ROOT / "presets" / "tiny" / "tokenizer", 40 * lines, seed=lines)
    lengths = [len(record["conversations"][1]["value"].split()) for record in made]
    assert (min(lengths), max(lengths)) in ((19, 799), (19, 800), (20, 799), (20, 800))
    assert sum(lengths) / len(lengths) == pytest.approx(780 / 3.68888, rel=0.05)  # (800 - 20) / ln(800 / 20)
    assert sum("image" in record for record in made) == 35 * lines


def test_the_page_names_benchmarks_that_are_there() -> None:
    named = re.findall(r"`python (tests/benchmarks/\w+\.py)", (ROOT / "docs/beside-other-tools.md").read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert len(named) == len(json.loads((ROOT / "docs" / "peers.json").read_text()))
