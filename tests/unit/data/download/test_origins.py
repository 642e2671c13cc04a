"""Where subsets come from and under which terms: shown before a download, written down with it, found again."""

import json
from pathlib import Path

import pytest

from aurora_cli.data.download.origins import origins_of, recorded_origins
from aurora_cli.pipeline.download import command as download
from tests.downloading import FILES, SHOWN, published_hub, settings
from tests.hub import Hub, running_hub

SUBSETS = {path.rpartition("/")[0] for path in SHOWN if path.count("/") == 2}
PUBLISHED = [
    "projection/sharegpt4v",
    "projection/laion_cc_sbu",
    "projection/densefusion",
    "projection/allava_caption_vflan",
    "projection/allava_caption_laion",
    "vision/sharegpt4v_pt",
    "vision/m3it",
    "vision/llava_onevision",
    "vision/laion",
    "vision/cost",
    "vision/chatterbox",
    "language/allava_caption_laion",
    "language/allava_caption_vflan",
    "language/allava_instruct_laion",
    "language/allava_instruct_vflan",
    "language/cambrian",
    "language/evol",
    "language/facecaption",
    "language/llava_mix",
    "language/llavanext",
    "language/m4",
    "language/miradata",
    "language/sharegpt4v",
    "language/sharegpt4video_caption",
    "language/sharegpt4video_qa",
]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with published_hub(monkeypatch, tmp_path / "hf") as running:
        yield running


def test_every_subset_of_the_published_set_has_a_licence_and_an_address():
    assert len(PUBLISHED) == 25
    for subset in PUBLISHED:
        assert origins_of(subset), subset
        assert all(origin.licence and origin.url.startswith("https://") for origin in origins_of(subset))


def test_a_dry_run_shows_licences_and_addresses(hub: Hub, tmp_path: Path):
    said = "\n".join(download.run(settings(tmp_path / "w"), dry_run=True).lines())
    assert "projection/densefusion: DenseFusion-1M: CC BY 4.0 (https://huggingface.co/datasets/BAAI/Dense" in said
    assert "language/laion" in said


def test_the_manifest_says_where_each_subset_is_from_and_it_is_found_again(hub: Hub, tmp_path: Path):
    download.run(settings(tmp_path))
    stored = json.loads((tmp_path / "data/download.json").read_text())
    assert stored["terms"].keys() == SUBSETS
    assert stored["terms"]["projection/densefusion"][0]["licence"] == "CC BY 4.0"
    assert recorded_origins(tmp_path / "data")["projection/densefusion"] == origins_of("projection/densefusion")
    assert recorded_origins(tmp_path / "data/vision").keys() == {"vision/laion"}
    assert recorded_origins(tmp_path / "data/vision/laion/images").keys() == {"vision/laion"}
    assert recorded_origins(tmp_path / "elsewhere") == {}


def test_another_choice_keeps_the_terms_of_what_is_here(hub: Hub, tmp_path: Path):
    download.run(settings(tmp_path, subsets=["densefusion"]))
    download.run(settings(tmp_path, subsets=["evol"]))
    assert recorded_origins(tmp_path / "data").keys() == {"projection/densefusion", "language/evol"}


def test_a_mirror_passes_on_what_it_was_told(hub: Hub, tmp_path: Path):
    download.run(settings(tmp_path / "first"))
    manifest = tmp_path / "first/data/download.json"
    manifest.write_text(manifest.read_text().replace('"CC BY 4.0"', '"as agreed"'))
    download.run(settings(tmp_path / "second", repo=str(tmp_path / "first/data")))
    origin = recorded_origins(tmp_path / "second/data")["projection/densefusion"][0]
    assert (origin.name, origin.licence) == ("DenseFusion-1M", "as agreed")


def test_of_another_repository_only_what_its_card_says_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with running_hub(FILES, repo="me/mine", card={"license": "cc0-1.0"}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        result = download.run(settings(tmp_path, repo="me/mine"))
    for entry in result.subsets:
        if "/" in entry.subset:
            (origin,) = entry.origins
            assert (origin.name, origin.licence) == ("me/mine", "cc0-1.0")
            assert "is not known" in origin.note


def test_of_a_folder_with_names_of_its_own_nothing_is_claimed(tmp_path: Path):
    (tmp_path / "mirror/vision/holiday").mkdir(parents=True)
    (tmp_path / "mirror/vision/holiday/holiday.jsonl").write_text("{}\n")
    result = download.run(settings(tmp_path / "w", repo=str(tmp_path / "mirror")), dry_run=True)
    assert any(line.startswith("vision/holiday: not known") for line in result.lines())
