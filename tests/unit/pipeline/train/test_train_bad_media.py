"""`aurora train` from its command line over an epoch of 400 images of which some are damaged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aurora_cli.config.resolve import dump_yaml
from tests.distributed.tiny_workspace import make, settings
from tests.run_files import json_lines

pytestmark = pytest.mark.usefixtures("imports_done")
IMAGES = 400


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    make(root, "language", images=IMAGES, videos=1, texts=1)
    return root


def trained_with_damage(root: Path, damaged: list[int], run: str) -> tuple[int, str, list[dict[str, Any]]]:
    """Exit code, what is said, and the list of rejects of one epoch."""
    images = root / "data/language/images"
    whole = {number: (images / f"{number}.png").read_bytes() for number in damaged}
    for number, content in whole.items():
        (images / f"{number}.png").write_bytes(content[: len(content) // 2])
    config = root / f"{run}.yaml"
    chosen = settings(root, "language", after=None, max_steps=None, epochs=1, pack_tokens=192, run_dir=f"runs/{run}")
    chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"workers": 2})})
    config.write_text(dump_yaml(chosen))
    command = [sys.executable, "-m", "aurora_cli", "train", "--config", str(config), "--workspace", str(root)]
    done = subprocess.run(command, capture_output=True, text=True)
    for number, content in whole.items():
        (images / f"{number}.png").write_bytes(content)
    rejects = root / f"runs/{run}/rejected.jsonl"
    lines = rejects.read_text().splitlines() if rejects.exists() else []
    return done.returncode, done.stderr, [json.loads(line) for line in lines]


@pytest.mark.slow
def test_with_half_a_percent_damaged_the_run_completes_and_lists_them(root: Path) -> None:
    code, said, rejects = trained_with_damage(root, [17, 333], "few")
    assert code == 0, said
    assert {line["id"] for line in rejects} == {"image-17", "image-333"}
    assert len(rejects) == 2
    assert all("not a readable image" in line["reason"] for line in rejects)
    metrics = json_lines(root / "runs/few/metrics.jsonl")
    assert sum(line["samples"] for line in metrics) == IMAGES + 2
    assert (root / "runs/few/finished.json").exists()


@pytest.mark.slow
def test_with_five_percent_damaged_the_run_stops_with_exit_3_and_lists_them(root: Path) -> None:
    damaged = list(range(7, IMAGES, 20))
    assert len(damaged) == IMAGES // 20
    code, said, rejects = trained_with_damage(root, damaged, "many")
    assert code == 3, said
    assert "cannot be read; data.max_bad_share allows 1.00%" in said
    assert "rejected.jsonl" in said
    # more than 1 % of the whole: known with the fifth
    assert 5 <= len(rejects) <= len(damaged)
    assert {line["id"] for line in rejects} <= {f"image-{number}" for number in damaged}
    assert not (root / "runs/many/finished.json").exists()
