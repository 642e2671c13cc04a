"""A tower by its files: sides, colours and kind as each family's files say them."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aurora_cli.checkpoints.stated.towers import read_tower
from aurora_cli.errors import DataError, UsageError
from aurora_cli.models.towers.kinds import KINDS
from tests.own_parts import PROCESSOR, VISION, tower


def test_what_is_usual_for_a_kind_is_what_transformers_takes() -> None:
    import transformers
    from transformers import CLIPImageProcessorPil as Clip
    from transformers import CLIPVisionConfig, Dinov2Config, SiglipVisionConfig
    from transformers import SiglipImageProcessorPil as Siglip
    from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    kinds = (
        (CLIPVisionConfig(), Clip.image_mean, Clip.image_std),
        (SiglipVisionConfig(), Siglip.image_mean, Siglip.image_std),
        (Dinov2Config(), IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),  # as all of its folders' files say
    )
    for config, mean, std in kinds:
        kind = KINDS[config.model_type]
        assert (kind.image_size, kind.patch_size, kind.layers) == (
            config.image_size,
            config.patch_size,
            config.num_hidden_layers,
        )
        assert (kind.mean, kind.std) == (tuple(mean), tuple(std))
        assert getattr(transformers, kind.model_class).config_class is type(config)
    assert KINDS.keys() == {config.model_type for config, _, _ in kinds}


def test_a_config_that_says_its_type_alone_is_the_usual_one(tmp_path: Path) -> None:
    """As google/siglip2-base-patch16-224 was published."""
    config = {"model_type": "siglip", "vision_config": {"model_type": "siglip_vision_model"}}
    found = read_tower(tower(tmp_path, config, None))
    assert (found.pixels.size, found.patch_size, found.layers) == (224, 16, 12)
    assert found.pixels.mean == (0.5, 0.5, 0.5)
    assert "usual for siglip_vision_model" in found.pixels.sources["size"]


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    side=st.integers(1, 2000),
    form=st.sampled_from(["square", "shortest edge", "number", "crop", "crop of a larger", "nested"]),
)
def test_the_side_is_that_of_what_the_tower_sees(side: int, form: str, tmp_path: Path) -> None:
    square = {"height": side, "width": side}
    said: dict[str, Any] = {
        "square": {"size": square},
        "shortest edge": {"size": {"shortest_edge": side}},
        "number": {"size": side},
        "crop": {"size": {"shortest_edge": side}, "crop_size": square, "do_center_crop": True},
        "crop of a larger": {"size": {"shortest_edge": side + 32}, "crop_size": side, "do_center_crop": True},
        "nested": {"image_processor": {"size": square}},
    }[form]
    assert read_tower(tower(tmp_path, processor=said)).pixels.size == side


def test_without_a_processor_the_config_says_the_side(tmp_path: Path) -> None:
    pixels = read_tower(tower(tmp_path, processor=None)).pixels
    assert pixels.size == VISION["image_size"]
    assert pixels.sources["size"] == str(tmp_path / "config.json")


def test_colours_are_the_files(tmp_path: Path) -> None:
    pixels = read_tower(tower(tmp_path)).pixels
    assert (pixels.mean, pixels.std) == ((0.5, 0.4, 0.3), (0.5, 0.6, 0.7))
    assert pixels.sources["mean"] == str(tmp_path / "preprocessor_config.json")


def test_sides_that_differ_are_requested_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not square") as caught:
        read_tower(tower(tmp_path, processor={"size": {"height": 224, "width": 336}}))
    assert "--set model.image_size=PIXELS" in str(caught.value)


@pytest.mark.parametrize("mean", [[0.5, 0.5], "grey", [0.5, 0.5, None], [float("inf"), 0.5, 0.5]])
def test_colours_that_are_none_are_bad_data(mean: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"image_mean is .*; three numbers were expected"):
        read_tower(tower(tmp_path, processor={**PROCESSOR, "image_mean": mean}))


def test_a_tower_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a dinov2_with_registers, which cannot be the vision tower") as caught:
        read_tower(tower(tmp_path, {"model_type": "dinov2_with_registers"}))
    assert "DINOv2 (dinov2, without registers)" in str(caught.value.hint)


@pytest.mark.parametrize("said", [{"do_center_crop": True}, {"image_processor_type": "BitImageProcessor"}])
def test_dinov2_sees_the_crop_of_its_processor_and_not_the_size_of_its_table(
    said: dict[str, Any], tmp_path: Path
) -> None:
    """As facebook/dinov2-base was published; the second with what is usual for its processor's class left out."""
    config = {"model_type": "dinov2", "image_size": 518, "patch_size": 14, "num_hidden_layers": 12}
    sizes = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}
    found = read_tower(tower(tmp_path, config, {**sizes, **said}))
    assert (found.pixels.size, found.patch_size, found.layers) == (224, 14, 12)
    assert found.pixels.mean == (0.485, 0.456, 0.406)
