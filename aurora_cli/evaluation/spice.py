"""SPICE (Anderson et al., ECCV 2016): the program that `pycocoevalcap` brings, which takes Java and Stanford's parser.

It parses every caption into objects, attributes and relations, and compares those. The parser's models are no part of
the package (its own `get_stanford_models` fetches them): SPICE runs only where it is asked for.
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aurora_cli.errors import HostError
from aurora_cli.evaluation.corpus import Floats
from aurora_cli.evaluation.java import JAVA, find_jar

_JAR = Path("spice", "spice-1.0.jar")
_PARSER = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


def find_spice() -> Path:
    """The program.

    Raises:
        HostError: it, Java or the parser is missing.
    """
    jar = find_jar(_JAR)
    if jar is None:
        raise HostError(
            "SPICE takes pycocoevalcap and Java; one of them is not there",
            hint="pip install 'aurora-cli[evaluate]', and a Java (Debian: default-jre-headless)",
        )
    if missing := [name for name in _PARSER if not (jar.parent / "lib" / name).is_file()]:
        raise HostError(
            f"SPICE takes Stanford's parser; {missing[0]} is not in {jar.parent / 'lib'}",
            hint="python -c 'from pycocoevalcap.spice.get_stanford_models import get_stanford_models as get; get()' "
            "fetches it (400 MB); or leave --metric spice out.",
        )
    return jar


def spice(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """(N,): how much of what the references say each tokenized caption says, and how little else (F1); 0 of nothing.

    Raises:
        HostError: as `find_spice`, or the program fails.
    """
    jar = find_spice()
    rows = [
        {"image_id": number, "test": caption, "refs": list(several)}
        for number, (caption, several) in enumerate(zip(captions, references, strict=True))
    ]
    with tempfile.TemporaryDirectory(prefix="aurora-spice-") as folder:
        given, found = Path(folder, "given.json"), Path(folder, "found.json")
        given.write_text(json.dumps(rows), "utf-8")
        command = [*JAVA, "-Xmx8G", "-jar", str(jar), str(given), "-out", str(found), "-subset", "-silent"]
        done = subprocess.run(
            command, cwd=jar.parent, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        if done.returncode != 0 or not found.is_file():
            last = done.stderr.strip().rpartition("\n")[2]
            raise HostError(f"SPICE ended with exit code {done.returncode}: {last}")
        scores = {row["image_id"]: row["scores"]["All"]["f"] for row in json.loads(found.read_text("utf-8"))}
    # Of two captions that say nothing the program knows no number.
    return np.nan_to_num(np.array([float(scores[number]) for number in range(len(rows))]))
