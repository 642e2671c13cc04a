"""What is said to SPICE and what becomes of its answers, with a program in its place that counts common words.

The program itself takes a parser's models, which are no part of any package: where they are, it is asked too.
"""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from aurora_cli.errors import HostError
from aurora_cli.evaluation.resampling import intervals
from aurora_cli.evaluation.scores import Scorer
from aurora_cli.evaluation.spice import find_spice, spice

IN_ITS_PLACE = """#!{python}
import json, sys
given, out = sys.argv[sys.argv.index("-jar") + 2], sys.argv[sys.argv.index("-out") + 1]
rows = []
for row in json.load(open(given)):
    ours, theirs = set(row["test"].split()), set(" ".join(row["refs"]).split())
    common = len(ours & theirs)
    f = 2 * common / (len(ours) + len(theirs)) if ours or theirs else float("nan")
    rows.append({{"image_id": row["image_id"], "scores": {{"All": {{"f": f}}}}}})
if any(row["test"] == "broken" for row in json.load(open(given))):
    sys.exit("Exception: no room in the heap")
json.dump(rows[::-1], open(out, "w"))
"""


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A `pycocoevalcap` with SPICE and its parser, and a `java`."""
    jar = tmp_path / "pycocoevalcap" / "spice" / "spice-1.0.jar"
    (jar.parent / "lib").mkdir(parents=True)
    (tmp_path / "pycocoevalcap" / "__init__.py").touch()
    jar.touch()
    for name in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        (jar.parent / "lib" / name).touch()
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(IN_ITS_PLACE.format(python=sys.executable))
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(java.parent), prepend=":")
    monkeypatch.delitem(sys.modules, "pycocoevalcap", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return jar


def test_each_caption_has_its_own_score_whatever_the_order_of_the_answers(package):
    scores = spice(["a dog runs", "a cat", "", "x"], [["a dog"], ["a", "cat"], [""], ["y", "z"]])
    assert scores.tolist() == [pytest.approx(0.8), 1.0, 0.0, 0.0]  # 2 * 2 / 5; no number of nothing is 0


def test_the_score_of_a_set_is_the_mean_with_an_interval_like_any_other(package):
    scorer = Scorer("python", has_spice=True)
    captions, references = ["a dog runs", "a cat", "x"], [["a dog"], ["a cat"], ["y"]]
    scored = scorer.scored(captions, references, [None] * 3)
    found = dict(zip(scorer.names, intervals(scored.columns_NC, scorer.statistic, resamples=200), strict=True))
    assert found["spice"].value == pytest.approx((0.8 + 1.0 + 0.0) / 3)
    assert 0.0 <= found["spice"].low <= found["spice"].value <= found["spice"].high <= 1.0
    plain = Scorer("python")
    others = plain.scored(captions, references, [None] * 3)
    without = plain.statistic(others.columns_NC.sum(axis=0))
    assert np.array_equal([found[name].value for name in plain.names], without)  # the others are as without it


def test_what_is_missing_and_what_fails_is_said(package):
    with pytest.raises(HostError, match="exit code 1: Exception: no room in the heap"):
        spice(["broken"], [["a"]])
    parser = package.parent / "lib" / "stanford-corenlp-3.6.0-models.jar"
    parser.unlink()
    with pytest.raises(HostError, match=r"corenlp-3\.6\.0-models\.jar is not in"):
        spice(["a"], [["a"]])
    package.unlink()
    with pytest.raises(HostError, match="SPICE takes pycocoevalcap and Java"):
        find_spice()


@pytest.mark.slow
def test_the_real_program_gives_the_published_package_s_scores():
    try:
        find_spice()
    except HostError as error:
        pytest.skip(error.message)
    from pycocoevalcap.spice.spice import Spice

    captions = ["a brown dog runs over green grass", "a cat"]
    references = [["a dog runs over the grass", "the brown dog"], ["two birds"]]
    _, each = Spice().compute_score(dict(enumerate(references)), {n: [text] for n, text in enumerate(captions)})
    assert spice(captions, references).tolist() == [row["All"]["f"] for row in each]
    assert not math.isclose(each[0]["All"]["f"], 0.0)
