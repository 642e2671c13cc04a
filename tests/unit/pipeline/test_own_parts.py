"""Settings that hang on parts: which come from the parts' files, and which stand."""

import json
from pathlib import Path
from typing import Any

import pytest

from aurora_cli.config.resolve import resolve
from aurora_cli.errors import DataError, UsageError
from aurora_cli.pipeline.own_parts import OwnSettings
from aurora_cli.pipeline.train.stages.stage_settings import stage_settings
from tests.own_parts import PROCESSOR, VISION, language_model, tower


def derived(
    root: Path, *sets: str, preset: str = "auroracap-7b", stage: str = "projection", **flags: Any
) -> OwnSettings:
    """What `aurora train` would train with."""
    typed = {"workspace": ("--workspace", str(root)), "preset": ("--preset", preset), "train.stage": ("--stage", stage)}
    named = {
        "tower": ("model.vision_tower", "--vision-tower"),
        "language": ("model.language_model", "--language-model"),
    }
    typed |= {named[name][0]: (named[name][1], str(value)) for name, value in flags.items()}
    return stage_settings(resolve(typed, sets, environment={}))


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Path]:
    return {"tower": tower(tmp_path / "tower"), "language": language_model(tmp_path / "language")}


def test_what_the_parts_say_wins_over_the_preset(parts: dict[str, Path], tmp_path: Path) -> None:
    settings = derived(tmp_path, **parts).settings
    assert settings.model.image_size == 56  # the preset: 378
    assert (settings.model.image_mean, settings.model.image_std) == ((0.5, 0.4, 0.3), (0.5, 0.6, 0.7))
    assert settings.tokenize.template == "tokenizer"  # SmolLM2's has one; the preset: vicuna
    assert settings.train.pack_tokens == 4608  # 8 frames of 16 tokens and 512 of text are 640, and 4,608 hold them


def test_the_table_says_where_each_setting_comes_from(parts: dict[str, Path], tmp_path: Path) -> None:
    table = derived(tmp_path, **parts).lines()
    assert any(line.split() == ["model.vision_tower", str(parts["tower"]), "--vision-tower"] for line in table), (
        "\n".join(table)
    )
    said = "tower/preprocessor_config.json (preset auroracap-7b: 378)"
    assert any("model.image_size" in line and line.endswith(f" {said}") for line in table)


@pytest.mark.parametrize("where", ["--set", "aurora.yaml"])
def test_what_a_user_says_stands_and_the_table_names_what_the_weights_say(
    where: str, parts: dict[str, Path], tmp_path: Path
) -> None:
    sets = ["model.image_size=70"] if where == "--set" else []
    if where == "aurora.yaml":
        (tmp_path / "aurora.yaml").write_text("model: {image_size: 70}")
    own = derived(tmp_path, *sets, **parts)
    assert own.settings.model.image_size == 70
    assert own.rows["model.image_size"].source == f"{where} (the weights' own: 56)"


def test_a_preset_that_names_its_tower_decides_what_it_says_and_the_tower_the_rest(
    parts: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(
        f"model: {{vision_tower: {parts['tower']}, language_model: {parts['language']}, image_size: 70}}\n"
        "train: {projector: {lr: 1.0e-3}}"
    )
    model = derived(tmp_path, preset="mine.yaml").settings.model
    assert (model.image_size, model.image_mean) == (70, (0.5, 0.4, 0.3))


def test_the_presets_that_ship_say_all_and_no_hub_is_needed_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert derived(tmp_path).lines() == []
    assert derived(tmp_path, preset="tiny").lines() == []


def test_sides_become_whole_patches(parts: dict[str, Path], tmp_path: Path) -> None:
    """As SigLIP so400m at 384 px in patches of 14: 27 of them and 6 px that no patch sees."""
    tower(
        parts["tower"],
        {"model_type": "siglip_vision_model", **VISION, "image_size": 384},
        {**PROCESSOR, "size": {"height": 384, "width": 384}},
    )
    own = derived(tmp_path, **parts)
    assert own.settings.model.image_size == 378
    assert "384 px are 27 and a rest" in own.rows["model.image_size"].source
    # 8 frames of 27 x 27 tokens are 5,832, with 512 of text 6,344: 99.1 times 64.
    assert own.settings.train.pack_tokens == 6400


def test_a_side_that_patches_do_not_divide_is_refused_with_those_that_they_do(
    parts: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"model\.image_size: 60 \(from --set\) is not a multiple") as caught:
        derived(tmp_path, "model.image_size=60", **parts)
    assert "whole patches: 56 or 70" in str(caught.value)


def test_a_tower_of_too_few_layers_to_merge_is_refused_before_a_stage_begins(
    parts: dict[str, Path], tmp_path: Path
) -> None:
    """One layer runs before the hidden state -2 of two; it halves 16 tokens at most."""
    tower(parts["tower"], {"model_type": "siglip_vision_model", **VISION, "num_hidden_layers": 2})
    derived(tmp_path, "merging.kept_ratio=0.5", "train.pack_tokens=512", **parts)
    with pytest.raises(UsageError, match=r"kept ratio 0\.25, which is 4 of 16 tokens"):
        derived(tmp_path, "merging.kept_ratio=0.25", "train.pack_tokens=512", **parts)


def test_nothing_is_longer_than_the_language_model_has_positions(parts: dict[str, Path], tmp_path: Path) -> None:
    language_model(parts["language"], max_position_embeddings=96)
    own = derived(tmp_path, **parts)
    assert (own.settings.tokenize.max_length, own.settings.train.pack_tokens) == (96, 96)
    assert "such videos are rejected" in own.rows["tokenize.frames"].source  # 8 x 16 tokens


def test_stretched_positions_count_with_their_factor(parts: dict[str, Path], tmp_path: Path) -> None:
    """Vicuna 1.5's file: `rope_scaling`, as it was written before transformers 5."""
    language_model(parts["language"], max_position_embeddings=96, rope_scaling={"type": "linear", "factor": 2.0})
    assert derived(tmp_path, **parts).settings.tokenize.max_length == 192


def test_a_tokenizer_without_a_template_keeps_the_presets(parts: dict[str, Path], tmp_path: Path) -> None:
    config = parts["language"] / "tokenizer_config.json"
    said = json.loads(config.read_text())
    del said["chat_template"]
    config.write_text(json.dumps(said))
    own = derived(tmp_path, **parts)
    assert own.settings.tokenize.template == "vicuna"
    assert "has none of its own" in own.rows["tokenize.template"].source


def test_parts_that_are_named_replace_random_ones_and_their_tokenizer(parts: dict[str, Path], tmp_path: Path) -> None:
    model = derived(tmp_path, preset="tiny", **parts).settings.model
    assert (model.vision_config, model.text_config, model.tokenizer) == (None, None, None)


@pytest.mark.parametrize(("named", "missing"), [("tower", "--language-model"), ("language", "--vision-tower")])
def test_one_part_beside_a_random_one_is_requested_by_name(
    named: str, missing: str, parts: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        derived(tmp_path, preset="tiny", **{named: parts[named]})
    assert f"Name it too: {missing} DIR|ID" in str(caught.value)


def test_a_folder_that_is_not_there_is_named_with_its_setting(parts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model\.vision_tower \(from --vision-tower\): .*there is no such folder"):
        derived(tmp_path, tower=tmp_path / "nowhere", language=parts["language"])


def test_a_language_model_without_a_tokenizer_is_bad_data(parts: dict[str, Path], tmp_path: Path) -> None:
    (parts["language"] / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="holds no tokenizer") as caught:
        derived(tmp_path, **parts)
    assert "--set model.tokenizer=DIR" in str(caught.value)


def test_a_tokenizer_that_a_user_names_stands_beside_another_language_model(
    parts: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "aurora.yaml").write_text(f"model: {{tokenizer: {language_model(tmp_path / 'longer')}}}")
    assert derived(tmp_path, preset="tiny", **parts).settings.model.tokenizer == str(tmp_path / "longer")
