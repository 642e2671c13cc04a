"""A workspace that an earlier version wrote is inspected, tokenized, trained, converted and captioned by this one."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

WRITTEN = Path(__file__).parents[1] / "fixtures" / "workspace-0.1.0"
SUBSETS = {"llava_mix": (12, 2), "miradata": (1, 1), "sharegpt4video_caption": (7, 1)}
"""Subset -> rows, shards."""

NEXT_LOSS, NEXT_VALIDATION_LOSS = 6.391423940658569, 6.413922013907597
NEXT_ORDER_HASH = "897ebc093b85d36133032ed5c13bef95ddaeb1e50c65b71f70f188ec502efa32"
"""The step after the last, as the version that wrote the workspace did it (tests/fixtures/README.md)."""


@dataclass(frozen=True)
class Workspace:
    """Where it lies, and a folder with an `aurora` program."""

    folder: Path
    programs: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def workspace(tmp_path: Path, programs: Path) -> Workspace:
    workspace = Path(shutil.copytree(WRITTEN, tmp_path / "workspace"))
    for merged in workspace.glob("tokenized/*/*/merged"):
        relink(merged)
    return Workspace(workspace, programs)


def relink(merged: Path) -> None:
    """Make the files of a merged folder links to those of the shards again, which they were when git took them."""
    for name, in_shard in (("data", "data-00000-of-00001.arrow"), ("summary", "summary.arrow")):
        for file in merged.glob(f"{name}-*.arrow"):
            shard = merged.parent / "shards" / f"part-{file.name.split('-')[1]}" / in_shard
            assert shard.read_bytes() == file.read_bytes()
            file.unlink()
            file.hardlink_to(shard)


def aurora(workspace: Workspace, *words: str) -> dict[str, Any]:
    """The result of a command that is run there, as JSON."""
    process = subprocess.run(
        [workspace.programs / "aurora", *words, "--json"],
        cwd=workspace.folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_its_data_its_shards_and_its_run_are_inspected(workspace: Workspace) -> None:
    data = aurora(workspace, "inspect", "data")
    assert [(each["subset"], each["records"], each["missing"]) for each in data["subsets"]] == [
        (f"language/{subset}", rows, 0) for subset, (rows, _) in SUBSETS.items()
    ]
    stores = aurora(workspace, "inspect", "tokenized")
    assert [(store["rows"], store["complete"]) for store in stores["stores"]] == [(12, True), (1, True), (7, True)]
    merged = aurora(workspace, "inspect", "tokenized/language/llava_mix/merged")
    assert (merged["rows"], merged["read"], merged["tokens"], merged["settings"]["frames"]) == (12, 12, 467, 3)
    run = aurora(workspace, "inspect", "runs/language")
    assert (run["stage"], run["finished"], run["steps"], run["latest"]) == ("language", True, 3, "step-00000003")
    assert (run["samples"], run["last"]["taught_tokens"]) == (48, 181)


def test_its_report_pages_are_written(workspace: Workspace) -> None:
    run = aurora(workspace, "inspect", "runs/language", "--html", "run.html")
    page = (workspace / run["html"]).read_text("utf-8")
    assert "6.4175" in page, "the last loss"
    assert "A blue circle at the top right." in page, "the reference of a sample"
    merged = "tokenized/language/sharegpt4video_caption/merged"
    aurora(workspace, "inspect", merged, "--html", "store.html", "--samples", "1")
    assert "sharegpt4video_caption-00000" in (workspace / "store.html").read_text("utf-8")


def test_its_shards_and_merged_folders_are_found_complete(workspace: Workspace) -> None:
    tokenized = aurora(workspace, "tokenize", "--batch-size", "7")
    assert {Path(each["output"]).name: (each["kept"], each["shards"]) for each in tokenized["folders"]} == SUBSETS
    assert [each["made"] for each in tokenized["folders"]] == [0, 0, 0]
    merged = aurora(workspace, "merge-shards")
    assert [each["made"] for each in merged["folders"]] == [False, False, False]


def test_its_finished_run_has_nothing_to_do(workspace: Workspace) -> None:
    assert aurora(workspace, "train", "--stage", "language", "--max-steps", "3")["did"] == "nothing"


def test_its_training_goes_on_as_the_version_that_began_it_would(workspace: Workspace) -> None:
    result = aurora(workspace, "train", "--stage", "language", "--max-steps", "4")
    assert (result["resumed_from"], result["step"]) == (3, 4)
    run = workspace / "runs" / "language"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["loss"] == pytest.approx(NEXT_LOSS, rel=1e-5)
    assert lines[-1]["validation_loss"] == pytest.approx(NEXT_VALIDATION_LOSS, rel=1e-5)
    assert json.loads((run / "finished.json").read_text("utf-8"))["order_hash"] == NEXT_ORDER_HASH
    assert "6.3914" in (run / "report.html").read_text("utf-8")


def test_its_weights_are_converted_and_caption_as_its_own_export_does(workspace: Workspace) -> None:
    converted = aurora(workspace, "convert", "runs/language", "again", "--format", "huggingface")
    assert (converted["verified"], converted["stages"]) == (True, ["projection", "vision", "language"])
    card = (workspace / "again" / "README.md").read_text("utf-8")
    assert "drawn by `aurora demo`" in card, "what the data of the last stage are"
    written = json.loads((workspace / "again" / "aurora.json").read_text("utf-8"))
    earlier = json.loads((workspace / "export" / "huggingface" / "aurora.json").read_text("utf-8"))
    assert written["merging"] == earlier["merging"]
    assert [stage["stage"] for stage in written["history"]] == [stage["stage"] for stage in earlier["history"]]

    media = ("held-out/pictures/0000.png", "held-out/clips/0000.mp4")
    captions = [aurora(workspace, "caption", *media, "--model", model) for model in ("again", "export/huggingface")]
    again, before = ([(each["kind"], each["caption"]) for each in one["captions"]] for one in captions)
    assert again == before
    assert [kind for kind, _ in again] == ["image", "video"]


def test_what_it_exported_is_replaced_by_a_new_export(workspace: Workspace) -> None:
    aurora(workspace, "convert", "--format", "huggingface", "--no-verify")
    again = aurora(workspace, "convert", "--format", "huggingface", "--no-verify")
    assert not again["done"]
