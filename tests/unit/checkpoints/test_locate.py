"""From a hub id to files here, and what is said of ids that lead nowhere; the hub is one on this machine."""

import time
from collections.abc import Iterator

import pytest
import torch
from safetensors.torch import load_file

from aurora_cli.checkpoints.checkpoint import OpenOptions
from aurora_cli.checkpoints.locate import locate, locate_config
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.config.settings import ModelSettings
from aurora_cli.errors import DataError, HostError, UsageError
from aurora_cli.io.atomic import read_json
from tests.captioners import WEIGHTS
from tests.hub import Hub, running_hub

REPO = "me/tower"
FOLDER = WEIGHTS / "visual_encoder"


def reach(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """huggingface_hub reads its endpoint when it is imported: it is set where it keeps it."""
    from huggingface_hub import constants

    addresses = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", addresses)
    monkeypatch.setattr(constants, "ENDPOINT", url)


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between its attempts
    files = {file.name: file.read_bytes() for file in FOLDER.iterdir()}
    with running_hub(files, repo=REPO, kind="models") as hub:
        reach(monkeypatch, hub.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield hub


def test_a_repository_is_fetched_once(hub: Hub):
    folder = locate(REPO)
    assert (folder / "model.safetensors").read_bytes() == (FOLDER / "model.safetensors").read_bytes()
    before = hub.sent.copy()
    assert locate(REPO) == folder
    assert hub.sent == before


def test_a_config_comes_without_the_weights(hub: Hub):
    assert read_json(locate_config(REPO)) == read_json(FOLDER / "config.json")
    assert "model.safetensors" not in hub.sent


def test_a_local_folder_wins_over_a_repository_of_its_name(hub: Hub, tmp_path):
    (tmp_path / REPO).mkdir(parents=True)
    assert locate(REPO, tmp_path) == tmp_path / REPO
    assert locate_config(REPO, tmp_path) == tmp_path / REPO / "config.json"
    assert hub.requests == []


@pytest.mark.parametrize("find", [locate, locate_config])
def test_unknown_and_gated_and_out_of_reach_are_told_apart(hub: Hub, find, monkeypatch):
    with pytest.raises(UsageError, match=r"me/other: is no folder here and no model at http.*, or it is private"):
        find("me/other")
    hub.faults.gated = True
    with pytest.raises(HostError, match="the hub asks for a licence to be accepted") as caught:
        find(REPO)
    assert "hf auth login" in (caught.value.hint or "")
    reach(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(HostError, match="is not a folder here, and the hub did not answer") as caught:
        find(REPO)
    assert "HF_ENDPOINT" in (caught.value.hint or "")


def test_a_repository_without_a_config_is_named(hub: Hub):
    hub.faults.gone.add("config.json")
    with pytest.raises(DataError, match=r"me/tower: this repository of the hub has no config\.json"):
        locate_config(REPO)


def test_what_cannot_be_a_hub_id_is_a_missing_file(hub: Hub):
    for name in ("nothing", "a/b/c", "/nowhere/at/all"):
        with pytest.raises(DataError, match="there is no such folder or file"):
            locate(name)
    assert hub.requests == []


def test_a_pth_takes_its_frozen_tower_from_the_hub_when_the_preset_names_it_so(hub: Hub, tmp_path):
    state = load_file(WEIGHTS / "aurora_state_dict.safetensors")
    torch.save({name: state[name] for name in state if name.startswith(("projector.", "llm."))}, tmp_path / "it.pth")
    preset = ModelSettings(vision_tower=REPO, language_model=str(WEIGHTS / "llm"), image_size=84)
    checkpoint = open_checkpoint(tmp_path / "it.pth", OpenOptions(model=preset))
    checkpoint.check()
    tower = load_file(FOLDER / "model.safetensors")
    for name in ("embeddings.class_embedding", "encoder.layers.0.mlp.fc1.bias"):
        own = f"vision_model.{name}"
        assert torch.equal(checkpoint.tensors[f"vision_tower.{own}"].read(), tower[own])
