"""Figures that benchmarks keep for docs/peers_page.py: one file, in which each has a section of its own."""

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the figures, for docs/peers_page.py")
    parser.add_argument("--busy", action="store_true", help="say beside them that other work ran at the same time")


def keep(chosen: argparse.Namespace, section: str, figures: dict[str, Any]) -> None:
    """Beside the other sections of `--write`, if that was given."""
    if chosen.write is None:
        return
    stored: dict[str, Any] = json.loads(chosen.write.read_text()) if chosen.write.exists() else {}
    about = {"busy": chosen.busy, "threads": chosen.threads, "machine": machine(), "command": command(sys.argv)}
    stored[section] = about | figures
    chosen.write.write_text(json.dumps(stored, indent=1) + "\n")


def command(words: list[str]) -> str:
    """What another would type: without what says where things lie.

    >>> command(["/a/tests/benchmarks/bench_x.py", "--samples", "80", "--busy", "--write", "f.json"])
    'tests/benchmarks/bench_x.py --samples 80'
    """
    script, *options = words
    kept, skip = [f"tests/benchmarks/{Path(script).name}"], False
    for word in options:
        if not skip and word not in ("--write", "--environments", "--busy", "--install"):
            kept.append(word)
        skip = word in ("--write", "--environments")
    return " ".join(kept)


def machine() -> str:
    import psutil

    return f"{psutil.cpu_count()} cores, {platform.machine()}, {psutil.virtual_memory().total / 2**30:.0f} GB"
