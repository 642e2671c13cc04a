"""`aurora download` from a hub on a loopback port that misbehaves in every way that hubs and networks do."""

import random
import time
from pathlib import Path

import pytest

from aurora_cli.errors import HostError, UsageError
from aurora_cli.pipeline.download import command as download
from tests.downloading import BIG, FILES, SHOWN, data_files, settings
from tests.hub import Hub


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


@pytest.mark.slow
def test_fifty_broken_connections_are_resumed_where_they_broke(hub: Hub, tmp_path: Path):
    cut_campaign(hub, tmp_path, 50, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 22))
def test_broken_connections_of_many_kinds_are_resumed_where_they_broke(hub: Hub, tmp_path: Path, seed: int):
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_bursts_of_503_are_outlasted(hub: Hub, tmp_path: Path):
    hub.faults.statuses = [(503, {})] * 5
    hub.faults.api_statuses = [(503, {})] * 5
    download.run(settings(tmp_path, workers=1, retries=5))
    assert data_files(tmp_path) == SHOWN


def test_a_hub_that_only_says_503_is_given_up_and_the_next_run_continues(hub: Hub, tmp_path: Path):
    hub.faults.statuses = [(503, {})] * 1000
    with pytest.raises(HostError, match=r"did not come from .* after 3 tries: HTTP 503") as caught:
        download.run(settings(tmp_path, retries=2))
    assert caught.value.exit_code == 4
    hub.faults.statuses, hub.faults.api_statuses = [], [(503, {})] * 1000
    with pytest.raises(HostError, match="after 3 tries: HTTP 503"):
        download.run(settings(tmp_path, retries=2))
    hub.faults.api_statuses = []
    download.run(settings(tmp_path))
    assert data_files(tmp_path) == SHOWN


@pytest.mark.slow
def test_a_slow_server_is_waited_for(hub: Hub, tmp_path: Path):
    hub.faults.bytes_per_s = 500_000
    download.run(settings(tmp_path, subsets=["densefusion"]))
    assert data_files(tmp_path)["projection/densefusion/dense.tar.gz.part_000"] == BIG


@pytest.mark.slow
def test_a_server_that_falls_silent_is_asked_again_for_the_rest(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.3")
    hub.faults.stalls, hub.faults.stall_s = 2, 1.5
    download.run(settings(tmp_path, include=["*dense.tar*"], workers=1))
    resumed = [request.range for request in hub.requests if request.range]
    assert f"bytes={len(BIG) // 2}-" in resumed
    assert data_files(tmp_path)["projection/densefusion/dense.tar.gz.part_000"] == BIG


def test_the_beginning_of_a_file_that_has_changed_is_not_taken_for_that_of_the_new_one(hub: Hub, tmp_path: Path):
    path = "projection/densefusion/dense.tar.gz.part_000"
    hub.faults.cuts = [100_000] + [0] * 1000
    with pytest.raises(HostError):
        download.run(settings(tmp_path, retries=0, workers=1, include=["*part_000"], subsets=["densefusion"]))
    assert list((tmp_path / "data").rglob("*.partial"))
    hub.faults.cuts, hub.files = [], {**FILES, path: BIG[::-1]}
    download.run(settings(tmp_path))
    assert data_files(tmp_path) == SHOWN | {path: BIG[::-1]}
    assert not list((tmp_path / "data").rglob("*.partial"))
