"""`aurora.json`: earlier ones are read, keys on disk stay, and what only a later version knows is not lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aurora_cli.checkpoints.facts import FACTS_FILE, ConvertRequest, ExportFacts, WeightFacts, file_stamps
from aurora_cli.errors import DataError
from aurora_cli.export.receipt import ExportSettings, read_facts

EARLIER = Path(__file__).parents[2] / "fixtures" / "workspace-0.1.0" / "export" / "huggingface"


def test_what_0_1_0_wrote_is_read_as_attributes():
    facts = ExportFacts.read(EARLIER / FACTS_FILE)
    assert (facts.receipt.request.format, facts.receipt.request.source) == ("huggingface", "runs/language")
    assert facts.verification is not None
    assert facts.verification.ok
    assert all(each.holds for each in facts.verification.differences)
    assert [stage.stage for stage in facts.history] == ["projection", "vision", "language"]
    assert [data.origins[0].name for data in facts.history[2].data] == ["shapes", "shapes", "shapes"]
    assert ExportSettings.read(EARLIER / "settings.json").convert == facts.receipt.request


def test_keys_on_disk_stay_as_they_were():
    written = json.loads((EARLIER / FACTS_FILE).read_text("utf-8"))
    written["verified"]["reason"] = None  # 0.1.0 wrote it only where there was one
    assert ExportFacts.read(EARLIER / FACTS_FILE).to_json() == written


def test_weights_are_opened_without_the_receipt_and_an_export_is_not_taken_for_current_without_it(tmp_path):
    content = json.loads((EARLIER / FACTS_FILE).read_text("utf-8"))
    del content["receipt"]
    (tmp_path / FACTS_FILE).write_text(json.dumps(content))
    assert WeightFacts.read(tmp_path / FACTS_FILE).merging is not None
    assert read_facts(tmp_path) is None
    assert read_facts(tmp_path / "nothing") is None


def test_a_file_of_a_newer_version_says_so(tmp_path):
    (tmp_path / FACTS_FILE).write_text('{"schema": 2}')
    with pytest.raises(DataError, match=r"has schema 2; this version of aurora reads up to 1"):
        WeightFacts.read(tmp_path / FACTS_FILE)


def test_a_setting_that_only_a_later_version_knows_makes_another_request():
    values = ExportFacts.read(EARLIER / FACTS_FILE).receipt.request.model_dump(mode="json")
    request = ConvertRequest.model_validate(values)
    assert ConvertRequest.model_validate({**values, "quantization": "q8_0"}) != request
    assert ConvertRequest.model_validate(values) == request


def test_a_folder_is_stamped_by_its_files_and_what_is_not_there_by_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("abc")
    stamps = file_stamps([tmp_path / "folder", tmp_path / "nothing"])
    assert [(Path(name).name, stamp.size) for name, stamp in stamps.items()] == [("a", 3)]


@pytest.mark.slow
def test_reading_it_imports_no_torch():
    script = "import sys, aurora_cli.export.receipt; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
