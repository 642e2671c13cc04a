"""The presets that ship: every stage of each is valid, and the 7B one is the published recipe."""

from pathlib import Path

import pytest

from aurora_cli.config.presets import load_preset, own_presets, preset_names
from aurora_cli.config.resolve import resolve
from aurora_cli.config.settings import Settings, TrainSettings
from aurora_cli.errors import SettingsError
from aurora_cli.models.merge_plan import num_visual_tokens


def stage_of(preset: str, stage: str) -> Settings:
    flags = {"preset": ("--preset", preset), "train.stage": ("--stage", stage)}
    return resolve(flags, environment={}).settings


def rates(train: TrainSettings) -> tuple[float | None, ...]:
    parts = (train.projector, train.vision_tower, train.language_model)
    return tuple(part.lr if part else None for part in parts)


@pytest.mark.parametrize("preset", preset_names())
def test_every_stage_of_every_preset_is_valid_and_trains_something(preset: str) -> None:
    for stage in load_preset(preset, Settings().workspace).stages:
        assert any(rates(stage_of(preset, stage).train)), stage


def test_the_7b_preset_is_the_published_recipe() -> None:
    projection, vision, language = (stage_of("auroracap-7b", name) for name in ("projection", "vision", "language"))
    assert rates(projection.train) == (2e-4, None, None)
    assert projection.train.projector_start == "random"
    assert rates(vision.train) == (1e-4, 1e-4, None)
    assert rates(language.train) == (2e-5, 2e-5, 2e-5)
    assert [s.train.epochs for s in (projection, vision, language)] == [1, 2, 2]
    assert [s.merging.kept_ratio for s in (projection, vision, language)] == [1.0, 1.0, 0.1]
    assert [s.train.after for s in (projection, vision, language)] == [None, "projection", "vision"]
    assert language.model.vision_tower == "apple/DFN5B-CLIP-ViT-H-14-378"
    assert language.model.language_model == "lmsys/vicuna-7b-v1.5-16k"
    assert (language.model.image_size, language.model.feature_layer) == (378, -2)
    assert (language.train.warmup_ratio, language.train.max_grad_norm, language.train.betas) == (
        0.03,
        1.0,
        (0.9, 0.999),
    )
    assert (language.checkpoint.every, language.checkpoint.keep) == (100, 2)


def test_merging_is_available_in_the_vision_stage() -> None:
    flags = {"train.stage": ("--stage", "vision"), "merging.kept_ratio": ("--token-kept-ratio", "0.1")}
    assert resolve(flags, environment={}).settings.merging.kept_ratio == 0.1


@pytest.mark.parametrize("stage", ["projection", "vision", "language"])
def test_the_7b_batches_divide_among_the_usual_numbers_of_gpus(stage: str) -> None:
    train = stage_of("auroracap-7b", stage).train
    for gpus in (1, 2, 4, 8):
        assert train.global_batch_packs % (gpus * train.micro_batch_packs) == 0, gpus


@pytest.mark.parametrize(
    ("preset", "tower", "layers", "whole", "merged"),
    [
        # 224 / 16 = 14 patches a side, 196 in all, a quarter of them is 49; 378 / 14 = 27, 729, a tenth is 73.
        ("smollm2-135m", (224, 16), 12, 196, 49),
        ("qwen3-0.6b", (224, 16), 12, 196, 49),
        ("qwen3-4b", (378, 14), 27, 729, 73),
    ],
)
def test_packs_hold_a_video_and_its_text(
    preset: str, tower: tuple[int, int], layers: int, whole: int, merged: int
) -> None:
    size, patch = tower
    for stage, tokens in (("projection", whole), ("vision", whole), ("language", merged)):
        settings = stage_of(preset, stage)
        assert settings.model.image_size == size
        assert num_visual_tokens(size, size, patch, layers, -2, False, settings.merging) == tokens
        assert settings.train.pack_tokens >= settings.tokenize.frames * tokens + 512


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("stage", ["projection", "vision", "language"])
def test_batches_divide_among_the_usual_numbers_of_gpus(preset: str, stage: str) -> None:
    train = stage_of(preset, stage).train
    gpus = (1, 2, 4, 8) if preset != "tiny" else (1, 2)
    assert [n for n in gpus if train.global_batch_packs % (n * train.micro_batch_packs)] == []


def test_a_workspaces_own_presets_go_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "presets" / "folder").mkdir(parents=True)
    (tmp_path / "presets" / "folder" / "preset.yaml").write_text(
        "train: {epochs: 3}\nstages: {one: {train: {seed: 5}}}"
    )
    (tmp_path / "presets" / "folder" / "two.yaml").write_text("train: {seed: 6}")
    (tmp_path / "presets" / "file.yaml").write_text("train: {epochs: 4}")
    assert list(own_presets(tmp_path)) == ["file", "folder"]
    assert load_preset("file", tmp_path).common == {"train": {"epochs": 4}}
    layer = load_preset("folder", tmp_path)
    assert layer.common == {"train": {"epochs": 3}}
    assert layer.stages == {"one": {"train": {"seed": 5}}, "two": {"train": {"seed": 6}}}
    with pytest.raises(SettingsError, match=r"tiny, file, folder\) nor a file"):
        load_preset("nowhere", tmp_path)
