"""METEOR 1.5 (Denkowski & Lavie, WMT 2014): the program that `pycocoevalcap` brings, which takes Java.

It aligns a caption with its references by words, stems, synonyms and paraphrases, and gives numbers that add up: the
score of many captions is one of their sums. So a resample costs a line, not an alignment.
"""

import contextlib
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from aurora_cli.errors import HostError
from aurora_cli.evaluation.corpus import Floats
from aurora_cli.evaluation.java import JAVA, find_jar

_JAR = Path("meteor", "meteor-1.5.jar")
_BAR = "|||"
_WORDS, _CHUNKS, _MATCHED = [0, 1], 20, [21, 22]
"""Columns of what it counts: words of caption and reference, runs of matches, words of both that are in one."""


def find_meteor() -> Path | None:
    """The program, where it and Java are."""
    return find_jar(_JAR)


class Meteor:
    """The program while it runs; it ends with the block that it is opened for."""

    def __init__(self) -> None:
        """
        Raises:
            HostError: it or Java is missing.
        """
        jar = find_meteor()
        if jar is None:
            raise HostError(
                "METEOR takes pycocoevalcap and Java; one of them is not there",
                hint="pip install 'aurora-cli[evaluate]', and a Java (Debian: default-jre-headless)",
            )
        command = [*JAVA, "-jar", "-Xmx2G", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
        )

    def __enter__(self) -> "Meteor":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def columns(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
        """(N, 23): what adds up, of tokenized captions with their references."""
        lines = (
            f" {_BAR} ".join(["SCORE", *map(_plain, several), _plain(caption).replace("  ", " ")])
            for caption, several in zip(captions, references, strict=True)
        )
        columns_NC = np.array([[float(each) for each in answer.split()] for answer in self._ask(lines)])
        # Texts that are one whole match have no break, and count none where captions add up.
        is_whole_N = (columns_NC[:, _CHUNKS] == 1) & (columns_NC[:, _MATCHED] == columns_NC[:, _WORDS]).all(axis=1)
        columns_NC[is_whole_N, _CHUNKS] = 0.0
        return columns_NC

    def statistic(self, sums: Floats) -> Floats:
        """(..., 1): the score of sums (..., 23)."""
        rows = sums.reshape(-1, sums.shape[-1])
        lines = (f"EVAL {_BAR} " + " ".join(repr(float(each)) for each in row) for row in rows)
        answers = [*self._ask(lines, answers=2)][1::2]  # that of the caption, then that of all captions
        return np.array([float(answer) for answer in answers]).reshape(*sums.shape[:-1], 1)

    def _ask(self, lines: Iterable[str], answers: int = 1) -> Iterator[str]:
        """Write lines and read as many answers to each; on two threads, so that no pipe fills up."""
        read, write = self._process.stdout, self._process.stdin
        assert read is not None
        assert write is not None
        written = [0]

        def feed() -> None:
            with contextlib.suppress(OSError):  # the program ended: the reader says so
                for line in lines:
                    write.write(line + "\n")
                    written[0] += 1
                write.flush()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        given = 0
        while feeder.is_alive() or given < answers * written[0]:
            if given == answers * written[0]:
                feeder.join(0.01)
                continue
            if not (answer := read.readline()):
                raise HostError(f"METEOR ended after {given:,} answers (exit code {self._process.wait()})")
            given += 1
            yield answer.strip()


def _plain(text: str) -> str:
    return text.replace(_BAR, "")
