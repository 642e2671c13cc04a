"""`aurora presets`: what it lists is what the stages resolve to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aurora_cli.cli.app import run
from aurora_cli.config import fields
from aurora_cli.config.resolve import Resolved, resolve
from aurora_cli.config.settings import Settings
from aurora_cli.constants import STAGES
from aurora_cli.pipeline.presets import command as presets
from aurora_cli.pipeline.train.stages.stage_settings import stage_settings
from tests.own_parts import VISION, language_model, tower


def test_every_stage_is_listed_with_what_it_trains() -> None:
    result = presets.run(resolve(environment={}))
    projection, vision, language = result.presets["auroracap-7b"]
    assert projection.trains == {"projector": 2e-4}
    assert vision.trains == {"projector": 1e-4, "vision_tower": 1e-4}
    assert set(language.trains) == {"projector", "vision_tower", "language_model"}
    assert "from vision: projector at 2e-05" in "\n".join(result.lines())


@pytest.fixture
def aurora(tmp_path: Path) -> Callable[..., int]:
    """`aurora presets` in a workspace of its own."""
    return lambda *arguments: run(["presets", "--workspace", str(tmp_path), *arguments])


def test_a_copy_is_the_same_preset_under_another_name(
    aurora: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert aurora("--copy", "tiny", "mine") == 0
    for stage in STAGES:
        tiny, mine = stage_of(tmp_path, "tiny", stage), stage_of(tmp_path, "mine", stage)
        assert mine.model.tokenizer == str(tmp_path / "presets" / "mine" / "tokenizer")
        assert differing(tiny, mine) == {"preset", "model.tokenizer"}
    capsys.readouterr()
    assert aurora("--copy", "tiny", "mine") == 0
    assert "nothing to do" in capsys.readouterr().out
    (tmp_path / "presets" / "mine" / "vision.yaml").write_text("train: {seed: 1}")
    assert aurora("--copy", "tiny", "mine") == 2
    assert "is there already, and differs" in capsys.readouterr().err


@pytest.mark.slow
def test_a_new_preset_says_all_that_follows_from_its_parts(
    aurora: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained with it, a stage has the settings that it has with the parts' names; nothing is left to be derived."""
    config = {"model_type": "siglip_vision_model", **VISION, "num_hidden_layers": 12}
    tower(tmp_path / "tower", config)
    language_model(tmp_path / "lm")
    parts = ["--vision-tower", str(tmp_path / "tower"), "--language-model", str(tmp_path / "lm")]
    assert aurora("--new", "mine", *parts, "--dry-run") == 0
    assert not (tmp_path / "presets").exists()
    assert aurora("--new", "mine", *parts) == 0
    flags = dict(zip(("model.vision_tower", "model.language_model"), parts[1::2], strict=True))
    for stage in STAGES:
        typed = {path: (path, value) for path, value in flags.items()}
        named = stage_settings(resolved(tmp_path, "auroracap-7b", stage, typed)).settings
        own = stage_settings(resolved(tmp_path, "mine", stage, {}))
        assert own.lines() == []
        assert differing(named, own.settings) == {"preset"}
    text = (tmp_path / "presets" / "mine" / "preset.yaml").read_text()
    source = tmp_path / "tower" / "preprocessor_config.json"
    assert f"  image_size: 56  # {source}\n" in text or f"  # {source}\n  image_size: 56\n" in text
    capsys.readouterr()
    assert aurora() == 0
    assert "mine (of this workspace)\n  projection  from the preset's models" in capsys.readouterr().out
    assert aurora("--show", "mine") == 0
    assert "\n".join(text.splitlines()) in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"model_type": "gemma2", "final_logit_softcapping": 30.0}, "it scales or caps its logits"),
        ({"model_type": "qwen2_vl", "vision_config": {"depth": 2}}, "it is multimodal itself"),
        ({"model_type": "llama", "quantization_config": {"bits": 4}}, "its weights are quantized"),
    ],
)
def test_a_language_model_that_training_would_refuse_is_refused_before_its_preset_is_written(
    aurora: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any], problem: str
) -> None:
    tower(tmp_path / "tower", {"model_type": "siglip_vision_model", **VISION, "num_hidden_layers": 12})
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    language_model(tmp_path / "lm", **sizes, **config)
    parts = ["--vision-tower", str(tmp_path / "tower"), "--language-model", str(tmp_path / "lm")]
    assert aurora("--new", "mine", *parts) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "presets").exists()


def test_a_preset_that_is_wrong_is_listed_with_its_fault(
    aurora: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "presets" / "bad").mkdir(parents=True)
    (tmp_path / "presets" / "bad" / "preset.yaml").write_text("train: {epochs: -1}")
    (tmp_path / "presets" / "bad" / "vision.yaml").write_text("{}")
    assert aurora() == 0
    assert "bad (of this workspace): train.epochs: -1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--new", "tiny"), "is the name of an installed preset"),
        (("--new", "../out"), "cannot be the name of a preset"),
        (("--copy", "tiny"), "the copy needs a name"),
        (("name",), "nothing is copied"),
        (("--show", "tiny", "--new", "x"), "one of them was expected"),
        (("--show", "nowhere"), "is neither a preset"),
    ],
)
def test_what_cannot_be_is_said(
    arguments: tuple[str, ...], message: str, aurora: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert aurora(*arguments) == 2
    assert message in capsys.readouterr().err


def resolved(root: Path, preset: str, stage: str, flags: dict[str, tuple[str, str]]) -> Resolved:
    named = {"workspace": root, "preset": preset, "train.stage": stage}
    return resolve({**{path: (path, str(value)) for path, value in named.items()}, **flags}, environment={})


def stage_of(root: Path, preset: str, stage: str) -> Settings:
    return resolved(root, preset, stage, {}).settings


def differing(one: Settings, other: Settings) -> set[str]:
    """Dotted paths of the settings that are not the same."""
    return {
        setting.path for setting in fields.settings() if value_of(one, setting.path) != value_of(other, setting.path)
    }


def value_of(settings: Settings, path: str) -> object:
    value: object = settings
    for name in path.split("."):
        value = getattr(value, name, None)
    return value
