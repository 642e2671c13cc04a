"""`aurora download`: from a mirror folder and from a hub on a loopback port that misbehaves."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from aurora_cli.config.settings import DownloadSettings, Settings
from aurora_cli.data.manifest import DownloadManifest
from aurora_cli.errors import DataError, HostError, UsageError
from aurora_cli.pipeline import download, extract, merge_tars
from tests.hub import REPO, Hub, running_hub

BIG = random.Random(0).randbytes(300_000)
FILES = {
    "README.md": b"about",
    ".gitattributes": b"plumbing",
    "projection/densefusion/densefusion.jsonl": b'{"id": 1}\n' * 300,
    "projection/densefusion/dense.tar.gz.part_000": BIG,
    "projection/densefusion/dense.tar.gz.part_001": BIG[:100_000],
    "vision/laion/laion.jsonl": b'{"id": 2}\n',
    "vision/laion/laion.tar.gz.part_000": BIG[100_000:],
    "language/laion/laion.tar.gz.part_000": BIG[100_000:],
    "language/evol/evol.jsonl": b'{"id": 3}\n',
}
SHOWN = {path: content for path, content in FILES.items() if not path.startswith(".")}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with running_hub(dict(FILES)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    for path, content in FILES.items():
        place = tmp_path / "mirror" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return tmp_path / "mirror"


def settings(workspace: Path, **options: object) -> Settings:
    return Settings(workspace=workspace, download=DownloadSettings.model_validate({"retry_wait_s": 0.01} | options))


def data_files(workspace: Path) -> dict[str, bytes]:
    data = workspace / "data"
    places = (place for place in data.rglob("*") if place.is_file())
    paths = {place.relative_to(data).as_posix(): place.read_bytes() for place in places}
    return {path: content for path, content in paths.items() if path not in (".lock", "download.json")}


def test_everything_comes_from_a_hub_as_it_is(hub: Hub, tmp_path: Path):
    result = download.run(settings(tmp_path))
    assert data_files(tmp_path) == SHOWN
    assert (result.exit_code, result.files, result.fetched, result.linked) == (0, 8, 7, 1)


def test_everything_comes_from_a_folder_as_it_is(mirror: Path, tmp_path: Path):
    result = download.run(settings(tmp_path / "w", repo=str(mirror)))
    assert data_files(tmp_path / "w") == SHOWN
    assert (result.files, result.fetched, result.linked) == (8, 7, 1)


@pytest.mark.parametrize("origin", ["hub", "mirror"])
def test_equal_archives_share_their_place_on_disk(origin: str, request: pytest.FixtureRequest, tmp_path: Path):
    place = request.getfixturevalue(origin)
    options = {"repo": str(place)} if origin == "mirror" else {}
    download.run(settings(tmp_path / "w", splits=["vision"], **options))
    download.run(settings(tmp_path / "w", **options))
    data = tmp_path / "w" / "data"
    assert (data / "vision/laion/laion.tar.gz.part_000").samefile(data / "language/laion/laion.tar.gz.part_000")


@pytest.mark.parametrize("origin", ["hub", "mirror"])
def test_a_second_run_fetches_nothing_and_says_so(origin: str, request: pytest.FixtureRequest, tmp_path: Path):
    place = request.getfixturevalue(origin)
    chosen = settings(tmp_path / "w", **({"repo": str(place)} if origin == "mirror" else {}))
    download.run(chosen)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "w/data").rglob("*.gz*")}
    result = download.run(chosen)
    assert result.fetched == 0
    assert result.lines()[0].startswith("Nothing to do: all 8 files")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "w/data").rglob("*.gz*")} == before


def test_a_dry_run_shows_files_and_bytes_per_subset_and_touches_nothing(hub: Hub, tmp_path: Path):
    result = download.run(settings(tmp_path / "w"), dry_run=True)
    assert not (tmp_path / "w").exists()
    by_name = {entry["subset"]: entry for entry in result.subsets}
    assert by_name["projection/densefusion"]["files"] == 3
    assert by_name["projection/densefusion"]["bytes"] == 403_000
    assert any("projection/densefusion" in line and "403,000 bytes" in line for line in result.lines())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"splits": ["vision"]}, {"vision/laion/laion.jsonl", "vision/laion/laion.tar.gz.part_000"}),
        ({"subsets": ["evol"]}, {"language/evol/evol.jsonl"}),
        ({"subsets": ["vision/laion"], "annotations_only": True}, {"vision/laion/laion.jsonl"}),
        ({"include": ["*.part_001"]}, {"projection/densefusion/dense.tar.gz.part_001"}),
        ({"exclude": ["projection/*", "*.gz.part*", "*.md"]}, {"vision/laion/laion.jsonl", "language/evol/evol.jsonl"}),
    ],
)
def test_only_what_is_chosen_comes(hub: Hub, tmp_path: Path, options: dict, expected: set[str]):
    download.run(settings(tmp_path, **options))
    assert data_files(tmp_path).keys() == expected


def test_unknown_names_are_answered_with_near_ones(hub: Hub, tmp_path: Path):
    with pytest.raises(UsageError, match="did you mean densefusion"):
        download.run(settings(tmp_path, subsets=["dense_fusion"]))
    with pytest.raises(UsageError, match="did you mean projection"):
        download.run(settings(tmp_path, splits=["projektion"]))
    with pytest.raises(UsageError, match=f"did you mean {REPO}"):
        download.run(settings(tmp_path, repo="wchai/AuroraCap-train"))
    with pytest.raises(UsageError, match="no branch, tag or commit 'v9'"):
        download.run(settings(tmp_path, revision="v9"))
    with pytest.raises(DataError, match="none of its"):
        download.run(settings(tmp_path, include=["*.zip"]))
    assert not (tmp_path / "data").exists()


def test_a_gated_data_set_and_one_that_needs_a_token_say_what_to_do(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.faults.gated = True
    with pytest.raises(HostError, match="access is given by its owners") as caught:
        download.run(settings(tmp_path))
    assert "HF_TOKEN" in str(caught.value)
    hub.faults.gated, hub.faults.token = False, "secret"
    with pytest.raises(UsageError, match="or it is private"):
        download.run(settings(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert download.run(settings(tmp_path)).files == 8


def test_the_token_is_not_shown_to_the_storage_behind_a_redirect(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", "secret")
    download.run(settings(tmp_path))
    stored = [request for request in hub.requests if request.port == hub.storage_port]
    assert stored
    assert all(request.authorization is None for request in stored)
    assert all(request.authorization for request in hub.requests if request.port != hub.storage_port)


def test_no_hub_there_and_offline_mode_are_errors_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HostError, match="cannot be reached"):
        download.run(settings(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    with pytest.raises(HostError, match="offline mode"):
        download.run(settings(tmp_path))


def cut_campaign(hub: Hub, tmp_path: Path, cuts: int, seed: int) -> None:
    draw = random.Random(seed)
    hub.faults.cuts = [draw.randrange(1, 20_000) for _ in range(cuts)]
    download.run(settings(tmp_path, workers=2))
    assert data_files(tmp_path) == SHOWN
    fetched = {path: content for path, content in SHOWN.items() if path != "vision/laion/laion.tar.gz.part_000"}
    assert sum(hub.sent.values()) <= sum(map(len, fetched.values())) + 1000, "bytes that had come came again"


def test_broken_connections_are_resumed_where_they_broke(hub: Hub, tmp_path: Path):
    cut_campaign(hub, tmp_path, 12, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_fifty_broken_connections_are_resumed_where_they_broke(hub: Hub, tmp_path: Path, seed: int):
    cut_campaign(hub, tmp_path, 50, seed)


def test_a_connection_that_never_brings_a_byte_gives_up_and_the_next_run_continues(hub: Hub, tmp_path: Path):
    hub.faults.cuts = [100_000] + [0] * 1000
    with pytest.raises(HostError, match=r"dense\.tar\.gz\.part_000: did not come .* after 3 tries"):
        download.run(settings(tmp_path, retries=2, workers=1, include=["*dense.tar*"]))
    assert data_files(tmp_path).keys().isdisjoint(SHOWN), "an incomplete file has its final name"
    hub.faults.cuts = []
    hub.sent.clear()
    download.run(settings(tmp_path, include=["*dense.tar*"]))
    assert hub.sent["projection/densefusion/dense.tar.gz.part_000"] == len(BIG) - 100_000
    assert data_files(tmp_path)["projection/densefusion/dense.tar.gz.part_000"] == BIG


def test_a_busy_hub_is_given_the_time_that_it_asks_for(hub: Hub, tmp_path: Path):
    hub.faults.statuses = [(429, {"Retry-After": "1"}), (503, {}), (503, {}), (500, {})]
    hub.faults.api_statuses = [(503, {}), (429, {"Retry-After": "0"})]
    began = time.monotonic()
    download.run(settings(tmp_path, workers=1))
    assert 1.0 <= time.monotonic() - began < 20
    assert data_files(tmp_path) == SHOWN


def test_wrong_bytes_are_fetched_again_and_then_named(hub: Hub, tmp_path: Path):
    hub.faults.wrong = {"projection/densefusion/dense.tar.gz.part_001": 1, "language/evol/evol.jsonl": 1}
    download.run(settings(tmp_path / "once"))
    assert data_files(tmp_path / "once") == SHOWN
    hub.faults.wrong = {"projection/densefusion/dense.tar.gz.part_001": 99}
    with pytest.raises(HostError, match=r"dense\.tar\.gz\.part_001: .* sent other bytes than it lists"):
        download.run(settings(tmp_path / "always"))
    others = SHOWN.keys() - {"projection/densefusion/dense.tar.gz.part_001"}
    assert data_files(tmp_path / "always").keys() == others, "one bad file kept others from coming, or has its name"


@pytest.mark.parametrize("content", [BIG[::-1], BIG + b"more", BIG[:-1]], ids=["other", "longer", "shorter"])
def test_a_file_that_changes_after_it_was_listed_is_not_taken(hub: Hub, tmp_path: Path, content: bytes):
    hub.faults.changed = {"projection/densefusion/dense.tar.gz.part_000": content}
    with pytest.raises(HostError, match=r"part_000"):
        download.run(settings(tmp_path, retries=1))
    assert "projection/densefusion/dense.tar.gz.part_000" not in data_files(tmp_path)


def test_a_server_without_ranges_still_serves(hub: Hub, tmp_path: Path):
    hub.faults.cuts, hub.faults.ignores_range = [5000, 7000], True
    download.run(settings(tmp_path, workers=1))
    assert data_files(tmp_path) == SHOWN


def test_a_listed_file_that_is_gone_is_named(hub: Hub, tmp_path: Path):
    hub.faults.gone = {"language/evol/evol.jsonl"}
    with pytest.raises(HostError, match=r"language/evol/evol\.jsonl: is listed"):
        download.run(settings(tmp_path))


def test_verify_finds_and_replaces_a_damaged_file(hub: Hub, tmp_path: Path):
    download.run(settings(tmp_path))
    damaged = tmp_path / "data/projection/densefusion/dense.tar.gz.part_000"
    damaged.write_bytes(b"\0" * len(BIG))
    assert download.run(settings(tmp_path)).fetched == 0
    assert download.run(settings(tmp_path, verify=True)).fetched == 1
    assert damaged.read_bytes() == BIG


def test_files_that_somebody_put_there_are_taken_if_they_are_right(hub: Hub, tmp_path: Path):
    place = tmp_path / "data/projection/densefusion/dense.tar.gz.part_000"
    place.parent.mkdir(parents=True)
    place.write_bytes(BIG)
    wrong = place.with_name("dense.tar.gz.part_001")
    wrong.write_bytes(BIG[100_000:200_000])
    result = download.run(settings(tmp_path, subsets=["densefusion"]))
    assert result.fetched == 2
    assert wrong.read_bytes() == BIG[:100_000]


def test_too_little_space_is_said_before_anything_is_written(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 1234, 1234))
    with pytest.raises(HostError, match=r"bytes are to come, 1,234 bytes are free"):
        download.run(settings(tmp_path / "w", repo=str(mirror)))
    assert not (tmp_path / "w").exists()


def test_a_full_disk_ends_the_run_and_space_lets_it_continue(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from aurora_cli.data import fetching

    real, left = fetching.PartialFile.write, [150_000]

    def full(self: fetching.PartialFile, content: bytes) -> None:
        left[0] -= len(content)
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(self, content)

    monkeypatch.setattr(fetching.PartialFile, "write", full)
    with pytest.raises(HostError, match="the disk is full"):
        download.run(settings(tmp_path))
    monkeypatch.setattr(fetching.PartialFile, "write", real)
    download.run(settings(tmp_path))
    assert data_files(tmp_path) == SHOWN


def test_later_steps_see_that_a_download_is_not_complete(hub: Hub, tmp_path: Path):
    hub.faults.gone = {"projection/densefusion/dense.tar.gz.part_001"}
    with pytest.raises(HostError):
        download.run(settings(tmp_path, subsets=["densefusion"], workers=1))
    with pytest.raises(DataError, match=r"part_001 has not been downloaded yet"):
        merge_tars.run(Settings(workspace=tmp_path))
    result = extract.run(Settings(workspace=tmp_path))
    assert result.exit_code == 3
    assert "part_001 has not been downloaded yet" in result.problems[0]


def test_what_a_later_step_used_and_deleted_is_not_fetched_again(hub: Hub, tmp_path: Path):
    from aurora_cli.data.manifest import delete_spent

    download.run(settings(tmp_path))
    folder = tmp_path / "data/projection/densefusion"
    parts = sorted(folder.glob("*.part_*"))
    (folder / "dense.tar.gz").write_bytes(b"".join(part.read_bytes() for part in parts))
    delete_spent(parts, folder / "dense.tar.gz")
    assert download.run(settings(tmp_path)).fetched == 0
    (folder / "dense.tar.gz").unlink()
    assert download.run(settings(tmp_path)).fetched == 2, "the archive is gone, so its parts are wanted again"


def test_parts_that_were_merged_and_removed_by_hand_are_not_fetched_again(hub: Hub, tmp_path: Path):
    download.run(settings(tmp_path))
    folder = tmp_path / "data/projection/densefusion"
    parts = sorted(folder.glob("*.part_*"))
    (folder / "dense.tar.gz").write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    assert download.run(settings(tmp_path)).fetched == 0


def test_the_manifest_records_source_commit_hashes_and_settings(hub: Hub, tmp_path: Path):
    download.run(settings(tmp_path))
    stored = json.loads((tmp_path / "data/download.json").read_text())
    assert stored["repo"] == REPO
    assert len(stored["commit"]) == 40
    assert stored["settings"]["repo"] == REPO
    assert all(entry["sha256"] or entry["git_sha1"] for entry in stored["files"])


def test_a_choice_that_was_given_up_is_forgotten(hub: Hub, tmp_path: Path):
    hub.faults.gone = {"projection/densefusion/densefusion.jsonl"}
    with pytest.raises(HostError):
        download.run(settings(tmp_path, workers=1))
    shutil.rmtree(tmp_path / "data/vision", ignore_errors=True)
    download.run(settings(tmp_path, subsets=["evol"]))
    manifest = DownloadManifest.read(tmp_path / "data")
    assert manifest is not None
    assert not any(path.startswith("vision/") for path in manifest.files)


def test_many_small_files_come_in_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    small_files(monkeypatch, tmp_path, 250)


@pytest.mark.soak
def test_five_thousand_small_files_come(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    small_files(monkeypatch, tmp_path, 5000)


def small_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int) -> None:
    files = {f"vision/many/{index}.txt": str(index).encode() for index in range(count)}
    with running_hub(files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        download.run(settings(tmp_path, workers=8))
    assert data_files(tmp_path) == files


def killed_campaign(hub: Hub, tmp_path: Path, kills: int) -> None:
    """kill -9 at random moments; in the end everything is right, and what had come was not asked for again."""
    hub.faults.bytes_per_s = 400_000
    code = (
        "import sys; from pathlib import Path; from aurora_cli.config.settings import *; "
        "from aurora_cli.pipeline import download; import huggingface_hub; print('ready', flush=True); "
        "download.run(Settings(workspace=Path(sys.argv[1]), download=DownloadSettings(retry_wait_s=0.01)))"
    )
    draw, environment = random.Random(kills), os.environ | {"HF_ENDPOINT": hub.url}
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=environment, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0.05, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        whole = {path: content for path, content in data_files(tmp_path).items() if ".partial" not in path}
        assert all(SHOWN[path] == content for path, content in whole.items()), "a file with its final name is not whole"
    hub.faults.bytes_per_s = None
    download.run(settings(tmp_path))
    assert data_files(tmp_path) == SHOWN
    assert sum(hub.sent.values()) < sum(map(len, SHOWN.values())) + kills * 500_000


def test_a_killed_download_continues(hub: Hub, tmp_path: Path):
    killed_campaign(hub, tmp_path, 2)


@pytest.mark.soak
def test_a_download_killed_many_times_continues(hub: Hub, tmp_path: Path):
    killed_campaign(hub, tmp_path, 34)
