"""The presets that ship: every stage of each is valid, and the 7B one is the published recipe."""

import pytest

from aurora_cli.config.presets import load_preset, preset_names
from aurora_cli.config.resolve import resolve
from aurora_cli.config.settings import Settings, TrainSettings


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
