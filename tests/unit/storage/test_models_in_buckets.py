"""Models and checkpoints in buckets: used from a copy here; copied there whole, the newest few."""

from pathlib import Path

import pytest

from aurora_cli.checkpoints.locate import locate
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import write_json
from aurora_cli.runs.stored_checkpoints import fetch_checkpoint, prune_stored, put_checkpoint
from aurora_cli.storage import copies
from aurora_cli.storage.objects import list_objects

WORKSPACE = Path(__file__).parents[2] / "fixtures" / "workspace-0.1.0"


def checkpoint(folder: Path, step: int) -> Path:
    made = folder / f"step-{step:08d}"
    (made / "resume").mkdir(parents=True)
    (made / "model.safetensors").write_bytes(b"weights of %d" % step)
    (made / "resume" / "state.json").write_text("{}")
    write_json(made / "checkpoint.json", {"step": step})
    return made


def test_a_checkpoint_comes_back_as_it_went_and_the_newest_is_meant_by_the_folder(bucket, tmp_path):
    url = bucket.url("copies/language")
    for step in (1, 2):
        put_checkpoint(checkpoint(tmp_path, step), url)
    found = fetch_checkpoint(url)
    assert found.name == "step-00000002"
    assert (found / "model.safetensors").read_bytes() == b"weights of 2"
    assert sorted(path.name for path in found.rglob("*")) == [
        "checkpoint.json", "model.safetensors", "resume", "state.json"
    ]  # fmt: skip
    assert fetch_checkpoint(f"{url}/step-00000001").name == "step-00000001"


def test_a_copy_that_broke_off_is_none(memory, tmp_path, monkeypatch):
    url = memory.url("language")
    put_checkpoint(checkpoint(tmp_path, 1), url)

    def torn(file: Path, to: str) -> None:
        if to.endswith("state.json"):
            raise KeyboardInterrupt
        memory.write(to.removeprefix(memory.url()), file.read_bytes())

    monkeypatch.setattr("aurora_cli.runs.stored_checkpoints.put", torn)
    with pytest.raises(KeyboardInterrupt):
        put_checkpoint(checkpoint(tmp_path, 2), url)
    assert fetch_checkpoint(url).name == "step-00000001"
    memory.write("empty/step-00000001/model.safetensors", b"")
    with pytest.raises(DataError, match="has no whole checkpoint"):
        fetch_checkpoint(memory.url("empty"))


def test_old_copies_go_but_for_those_that_are_kept_here(memory, tmp_path):
    url = memory.url("language")
    for step in range(1, 6):
        put_checkpoint(checkpoint(tmp_path, step), url)
    prune_stored(url, 2, {"step-00000002"})
    steps = {name.partition("/")[0] for name in list_objects(url)}
    assert steps == {"step-00000002", "step-00000004", "step-00000005"}


def test_a_model_is_copied_once(memory, monkeypatch):
    export = WORKSPACE / "export" / "huggingface"
    for path in export.rglob("*"):
        if path.is_file():
            memory.write(f"models/tiny/{path.relative_to(export)}", path.read_bytes())
    folder = locate(memory.url("models/tiny/"))
    assert {path.relative_to(folder) for path in folder.rglob("*")} == {
        path.relative_to(export) for path in export.rglob("*")
    }
    monkeypatch.setattr(copies, "fetch", None)
    assert locate(memory.url("models/tiny/")) == folder
    with pytest.raises(DataError, match=r"memory://bucket/models/none: there are no objects below it"):
        locate(memory.url("models/none"))
