"""The page on scale: its arithmetic by hand, and what it says a medium costs is what aurora does."""

import importlib
import json
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
COUNTED = """
import json, sys
from pathlib import Path

from aurora_cli.config.settings import ExtractSettings, Settings
from aurora_cli.data.media.reader import MediaReader
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.pipeline.extract.command import run

events = []
sys.addaudithook(lambda event, _: events.append(event in ("open", "os.rename", "os.utime")))
layout, *roots = sys.argv[1:]
for root in roots:
    events.clear()
    run(Settings(workspace=root, extract=ExtractSettings(layout=layout, workers=1)))
    extracting = sum(events)
    reader = MediaReader(MediaRoot(Path(root, "data/vision/m3it")), 56, (0.5, 0.5, 0.5))
    events.clear()
    for number in range(int(root.rpartition("-")[2])):
        reader.images([f"images/{number}.png"])
    print(json.dumps([extracting, sum(events)]))
"""


@pytest.fixture
def model(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("scale_model")


def test_a_training_step_by_hand(model):
    of = model.Network(weights=7e9, tower=1e9, checkpoint_bytes=84e9)
    step = model.training(8, of)
    assert step.sent == pytest.approx(4 * 7e9 * 7 / 8)  # 2 bytes there and back, an eighth is one's own
    samples = 4096 / 469
    forward = 2 * (6e9 * 4096 + 1e9 * samples * 1.43 * 730)
    assert step.compute_s == pytest.approx(4 * forward / 395.6e12)  # backward is twice, recomputation once more
    assert step.read == pytest.approx(64 * samples * 200e3)
    assert model.training(1, of).sent == 0


def test_all_of_the_data_by_hand(model):
    loads = {load.step: load for load in model.loads(8, model.Network(7e9, 1e9, 84e9))}
    assert loads["download"].slowest == ("hub", 3200.0)  # 4 TB by 1.25 GB a second
    assert loads["extract, files"].slowest == ("metadata", 3000.0)  # 60 M by 20,000 a second
    assert loads["extract, index"].slowest == ("reading", 400.0)
    steps = 20e6 * 469 / 4096 / 64
    assert loads["its checkpoints"].written == pytest.approx(steps / 100 * 84e9)
    assert loads["train, files"].computing_s == pytest.approx(
        steps * model.training(8, model.Network(7e9, 1e9, 0)).compute_s
    )


def test_the_network_is_that_of_the_hardware_page(model):
    of = model.network()
    assert 7.3e9 < of.weights < 7.5e9
    assert 0.6e9 < of.tower < 0.7e9
    assert of.checkpoint_bytes == pytest.approx(12 * of.weights, rel=0.01)  # weights and two moments in fp32


def archive(root: Path, members: int) -> str:
    folder = root / f"w-{members}" / "data" / "vision" / "m3it"
    folder.mkdir(parents=True)
    image = BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        for number in range(members):
            member = tarfile.TarInfo(f"images/{number}.png")
            member.size = image.tell()
            archive.addfile(member, BytesIO(image.getvalue()))
    return str(root / f"w-{members}")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["files", "index"])
def test_a_medium_more_costs_the_operations_that_the_page_says(tmp_path, model, layout):
    roots = [archive(tmp_path, members) for members in (2, 3, 13)]  # the first imports what is used
    words = [sys.executable, "-c", COUNTED, layout, *roots]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    _, few, many = map(json.loads, done.stdout.splitlines()[-3:])
    expected = (model.OPS_A_MEMBER, model.OPS_A_READ) if layout == "files" else (0, 0)
    assert (many[0] - few[0], many[1] - few[1]) == (10 * expected[0], 10 * expected[1])
