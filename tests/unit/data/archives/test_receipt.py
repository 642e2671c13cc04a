"""What earlier versions wrote beside archives is read by this one; names that are no text survive."""

import json
import os
from pathlib import Path

import pytest

from aurora_cli.data.archives.finding.parts import find_archives
from aurora_cli.data.archives.journal import ExtractionState, identity_of
from aurora_cli.data.archives.receipt import ExtractionReceipt, Progress, RejectedMember, Tally
from aurora_cli.data.archives.spent import SPENT_FILE, delete_spent, spent_files
from aurora_cli.errors import DataError
from aurora_cli.pipeline.extract import command as extract
from tests.archiving import END, ONE_BYTE, PAYLOAD, SUBSET, header, info, place, settings, tar_of

OLD_RECEIPT = {
    "archive": "data/vision/cost/a.tar.gz",
    "layout": "files",
    "identity": "0123",
    "members": 40,
    "bytes": 120_780,
    "duplicates": 1,
    "rejected": 2,
    "broken": None,
    "nested": ["deep/inner.tar"],
    "samples": ["images/0.jpg"],
    "settings": {"layout": "files", "sync": False, "a setting that is gone": 1},
}
"""As version 0.1.0 wrote it, without a schema."""


def test_a_receipt_of_an_earlier_version_is_read(tmp_path: Path):
    (tmp_path / "receipt.json").write_text(json.dumps(OLD_RECEIPT))
    receipt = ExtractionReceipt.read(tmp_path / "receipt.json")
    assert {key: value for key, value in receipt.to_json().items() if key != "schema"} == OLD_RECEIPT
    assert (receipt.is_clean, receipt.nested) == (False, ("deep/inner.tar",))


def test_a_journal_of_an_earlier_version_is_continued(tmp_path: Path):
    archive_path = place(tmp_path, tar_of(info("a.jpg", b"1"), info("b.jpg", b"2")))
    (archive,) = find_archives([archive_path])
    state, identity = ExtractionState(archive, archive_path.parent), identity_of(archive)
    state.folder.mkdir(parents=True)
    state.rejects_path.write_bytes(b"")
    lines = [
        {"identity": identity, "layout": "files", "boot": None},
        {"offset": 0, "members": 0, "bytes": 0, "rejected": 0, "rejects_size": 0},
        {"offset": 1024, "members": 1, "bytes": 1, "rejected": 0, "rejects_size": 0},
    ]
    journal = state.folder / "journal.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert state.progress(identity, "files") == Progress(offset=1024, members=1, bytes=1)
    journal.write_text(journal.read_text() + '{"offset": 20')  # as a crash leaves it
    assert state.progress(identity, "files").offset == 1024
    assert state.progress("another", "files") == Progress()
    assert state.progress(identity, "index") == Progress()
    extract.run(settings(tmp_path))
    assert not (tmp_path / SUBSET / "a.jpg").exists(), "what the journal has was written again"
    assert (tmp_path / SUBSET / "b.jpg").read_bytes() == b"2"


def test_the_ledger_of_an_earlier_version_is_read_up_to_the_line_that_a_crash_cut(tmp_path: Path):
    (tmp_path / "a.tar.gz").write_bytes(b"whole")
    (tmp_path / SPENT_FILE).write_text('{"name": "a.tar.gz.part_000", "size": 5, "into": "a.tar.gz"}\n{"name": "a.ta')
    assert spent_files(tmp_path) == {"a.tar.gz.part_000": 5}


@pytest.mark.parametrize("content", ["[]", "{", '{"archive": "a"}', '{"schema": "one"}'])
def test_a_damaged_receipt_is_named(tmp_path: Path, content: str):
    (tmp_path / "receipt.json").write_text(content)
    with pytest.raises(DataError, match=r"receipt\.json"):
        ExtractionReceipt.read(tmp_path / "receipt.json")


@pytest.mark.parametrize("sync", [False, True])
def test_names_that_are_no_text_are_written_and_read(tmp_path: Path, sync: bool):
    odd = b"\xff\xfe.tar"
    content = header(odd, size=ONE_BYTE) + PAYLOAD + header(b"../\xff", size=ONE_BYTE) + PAYLOAD + END
    place(tmp_path, content)
    result = extract.run(settings(tmp_path, sync=sync))
    assert (result.rejected, result.refused[0].member) == (1, os.fsdecode(b"../\xff"))
    state = tmp_path / SUBSET / ".aurora/a.tar"
    receipt = ExtractionReceipt.read(state / "receipt.json")
    assert (receipt.nested, receipt.samples) == ((os.fsdecode(odd),), (os.fsdecode(odd),))
    line = json.loads((state / "rejected.jsonl").read_text())
    assert RejectedMember.parse(line, state).member == os.fsdecode(b"../\xff")
    file = tmp_path / os.fsdecode(b"part\xff")
    file.write_bytes(b"12")
    (tmp_path / os.fsdecode(b"whole\xff")).touch()
    delete_spent([file], tmp_path / os.fsdecode(b"whole\xff"))
    assert spent_files(tmp_path) == {file.name: 2}


def test_a_receipt_says_what_was_counted():
    tally = Tally(members=3, bytes=9, rejected=1, nested=["x.zip"], samples=["a"])
    receipt = tally.receipt("a.tar", "files", "id", {"layout": "files"})
    assert (receipt.members, receipt.bytes, receipt.rejected, receipt.nested) == (3, 9, 1, ("x.zip",))
    assert list(receipt.to_json())[:4] == ["schema", "archive", "layout", "identity"]
