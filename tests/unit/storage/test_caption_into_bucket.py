"""`aurora caption --output s3://...`: the object is whole or absent, and what was captioned is not captioned again."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from aurora_cli.config.settings import Settings
from aurora_cli.errors import DiskError, HostError, UsageError
from aurora_cli.pipeline.caption import command as caption
from aurora_cli.storage.objects import PART
from aurora_cli.storage.spool import Spool
from tests.captioners import caption_settings, make_runs
from tests.object_storage import needs_s3

pytestmark = pytest.mark.slow
NAMES = [f"media/{number}.png" for number in range(5)]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    make_runs(root)
    (root / "media").mkdir()
    for number, name in enumerate(NAMES):
        Image.effect_noise((60, 40), 20 + 9 * number).save(root / name)
    return root


@pytest.fixture
def machines(made, tmp_path) -> tuple[Path, Path]:
    """Two workspaces with the same media and model."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for each in ("media", "runs"):
            (tmp_path / name / each).symlink_to(made / each)
    return tmp_path / "one", tmp_path / "two"


def settings(workspace: Path, *media: str, **options: object) -> Settings:
    return caption_settings(workspace, *(media or NAMES), max_new_tokens=4, **options)


def lines_of(content: bytes) -> list[dict]:
    return [json.loads(line) for line in content.splitlines()]


def test_captions_rejects_and_settings_are_objects_and_another_machine_goes_on_with_them(bucket, machines):
    one, two = machines
    (one / "media" / "none.png").unlink(missing_ok=True)
    url = bucket.url("out/captions.jsonl")
    result = caption.run(settings(one, *NAMES[:3], "media/none.png", output=url))
    assert (result.output, result.made, result.exit_code) == (url, 3, 3)
    found = bucket.objects()
    assert sorted(found) == [f"out/captions.{end}" for end in ("jsonl", "jsonl.settings.json", "rejected.jsonl")]
    assert [line["media"] for line in lines_of(found["out/captions.jsonl"])] == NAMES[:3]
    assert [line["media"] for line in lines_of(found["out/captions.rejected.jsonl"])] == ["media/none.png"]
    again = caption.run(settings(two, output=url))
    assert (again.reused, again.made) == (3, 2)
    assert [line["media"] for line in lines_of(bucket.objects()["out/captions.jsonl"])] == NAMES


def test_shares_on_two_machines_become_one_object(bucket, machines, tmp_path):
    url = bucket.url("captions.jsonl")
    first = caption.run(settings(machines[0], output=url, shard="0/2"))
    assert first.parts.missing == (1,)
    assert "captions.jsonl" not in bucket.objects()
    second = caption.run(settings(machines[1], output=url, shard="1/2"))
    assert (second.parts.output, second.parts.captions, second.parts.merged) == (url, 5, True)
    caption.run(settings(machines[0], output=tmp_path / "plain.jsonl"))
    plain = lines_of((tmp_path / "plain.jsonl").read_bytes())
    for line in (merged := lines_of(bucket.objects()["captions.jsonl"])) + plain:
        del line["seconds"], line["cost"]
    assert merged == plain
    again = caption.run(settings(machines[0], output=url, shard="0/2"))
    assert (again.made, again.parts.is_whole) == (0, True)


def test_what_was_captioned_is_put_there_when_the_run_is_stopped(memory, machines, monkeypatch):
    from aurora_cli.captioning.job.output import CaptionFile

    add, url = CaptionFile.add, memory.url("captions.jsonl")

    def stopped(self, captions):
        add(self, captions)
        if len(self.keys) >= 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(CaptionFile, "add", stopped)
    with pytest.raises(KeyboardInterrupt):
        caption.run(settings(machines[0], output=url, batch_size=1))
    monkeypatch.undo()
    assert len(lines_of(memory.objects()["captions.jsonl"])) == 2
    assert caption.run(settings(machines[1], output=url)).reused == 2


def test_two_machines_that_wrote_the_same_output_are_told(memory, machines):
    url = memory.url("captions.jsonl")
    caption.run(settings(machines[0], NAMES[0], output=url))
    caption.run(settings(machines[1], NAMES[1], output=url))
    (here,) = machines[0].glob(".uploads/*/captions.jsonl")
    with open(here, "a") as file:
        file.write("\n")
    with pytest.raises(UsageError, match=r"memory://bucket/captions\.jsonl: was written by somebody else"):
        caption.run(settings(machines[0], NAMES[2], output=url))


def test_an_output_of_no_shares_is_not_replaced_by_one_of_shares(memory, machines):
    url = memory.url("captions.jsonl")
    caption.run(settings(machines[0], NAMES[0], output=url))
    with pytest.raises(UsageError, match="were not made in shares"):
        caption.run(settings(machines[1], output=url, shard="0/2"))
    with pytest.raises(UsageError, match="is a folder"):
        caption.run(settings(machines[0], output=memory.url("out/")))


def test_what_is_wrong_with_an_output_is_said_of_its_url_and_not_of_the_file_that_stands_for_it(memory, machines):
    url = memory.url("captions.jsonl")
    caption.run(settings(machines[0], output=url, shard="0/2"))
    with pytest.raises(UsageError, match=r"^memory://bucket/captions\.jsonl\.parts: has parts of 2 shares") as raised:
        caption.run(settings(machines[0], output=url, shard="1/3"))
    assert ".uploads" not in str(raised.value)


def test_a_full_disk_is_said_of_the_file_that_stands_for_an_output(memory, machines, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("aurora_cli.captioning.job.output.open_to_append", full)
    with pytest.raises(DiskError, match=r"\.uploads/\S+/captions\.jsonl: the disk is full"):
        caption.run(settings(machines[0], output=memory.url("captions.jsonl")))


def test_a_store_that_takes_nothing_is_told_of_and_the_captions_are_put_there_next_time(memory, machines, monkeypatch):
    url = memory.url("captions.jsonl")

    def refused(file: Path, to: str) -> None:
        raise HostError(f"{to}: bucket bucket does not let us write captions.jsonl: AccessDenied")

    with monkeypatch.context() as patch, pytest.raises(HostError, match="AccessDenied"):
        patch.setattr("aurora_cli.storage.spool.put", refused)
        caption.run(settings(machines[0], output=url))
    assert memory.objects() == {}
    assert caption.run(settings(machines[0], output=url)).reused == 5
    assert len(lines_of(memory.objects()["captions.jsonl"])) == 5


@needs_s3
def test_a_kill_in_the_middle_of_an_upload_leaves_the_object_that_was_there(s3, tmp_path):
    """By parts, as a file of captions of this size goes."""
    url = s3.write("captions.jsonl", b"before")
    content = os.urandom(1 << 20) * (2 * PART // (1 << 20) + 1)
    code = (
        "import sys, pathlib; from aurora_cli.storage.spool import Spool;"
        "spool = Spool(sys.argv[1], pathlib.Path(sys.argv[2]), lambda name: sys.argv[1]); spool.put(['captions.jsonl'])"
    )
    spool = Spool(url, tmp_path, lambda name: url)
    spool.folder.mkdir(parents=True)
    spool.file.write_bytes(content)
    s3.proxy.stalls = threading.Event()
    child = subprocess.Popen([sys.executable, "-c", code, url, str(tmp_path)])
    assert s3.proxy.stalls.wait(60)
    child.send_signal(signal.SIGKILL)
    child.wait()
    s3.proxy.stalls = None
    assert s3.objects() == {"captions.jsonl": b"before"}
    Spool(url, tmp_path, lambda name: url).put(["captions.jsonl"])
    assert s3.objects() == {"captions.jsonl": content}
    requests = len(s3.proxy.requests)
    Spool(url, tmp_path, lambda name: url).put(["captions.jsonl"])
    assert len(s3.proxy.requests) == requests
