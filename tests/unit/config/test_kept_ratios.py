"""`merging.kept_ratio`: a number, or several with their weights."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from aurora_cli.config.merging import MergingSettings, RatioMixture, TokenMerging
from aurora_cli.config.resolve import Resolved, dump_yaml, load_resolved, resolve
from aurora_cli.errors import SettingsError
from aurora_cli.runs.recipe import recipe_of


def at(workspace: Path, *sets: str, **environment: str) -> Resolved:
    return resolve({"workspace": ("--workspace", str(workspace))}, sets=sets, environment=environment)


def test_a_mixture_comes_from_every_source_and_goes_back_into_a_run_s_file(tmp_path: Path) -> None:
    expected = RatioMixture(ratios=(0.1, 0.5, 1.0), weights=(2, 1, 1))
    words = "{ratios: [1.0, 0.1, 0.5], weights: [1, 2, 1]}"
    flag = {"workspace": ("--workspace", str(tmp_path)), "merging.kept_ratio": ("--token-kept-ratio", words)}
    assert resolve(flag, environment={}).settings.merging.kept_ratio == expected
    assert at(tmp_path, f"merging.kept_ratio={words}").settings.merging.kept_ratio == expected
    assert at(tmp_path, AURORA_MERGING__KEPT_RATIO=words).settings.merging.kept_ratio == expected
    parts = at(tmp_path, "merging.kept_ratio.ratios=[0.1, 0.5, 1]", "merging.kept_ratio.weights=[2, 1, 1]")
    assert parts.settings.merging.kept_ratio == expected
    (tmp_path / "aurora.yaml").write_text(f"merging: {{kept_ratio: {words}}}")
    settings = at(tmp_path).settings
    assert settings.merging.kept_ratio == expected
    assert at(tmp_path, "merging.kept_ratio=0.3").settings.merging.kept_ratio == 0.3, "a number takes it away"
    (tmp_path / "config.yaml").write_text(dump_yaml(settings))
    assert load_resolved(tmp_path / "config.yaml") == settings


def test_a_single_number_is_written_and_held_to_as_ever(tmp_path: Path) -> None:
    settings = at(tmp_path, "merging.kept_ratio=0.3").settings
    assert yaml.safe_load(dump_yaml(settings))["merging"]["kept_ratio"] == 0.3
    assert recipe_of(settings)["merging.kept_ratio"] == 0.3
    assert settings.merging.mergings == (TokenMerging(kept_ratio=0.3),)
    assert settings.merging.trained_ratios == ()
    assert settings.merging.largest == TokenMerging(kept_ratio=0.3)


def test_each_ratio_merges_as_the_settings_say_besides() -> None:
    mixture = RatioMixture(ratios=(0.1, 1.0))
    settings = MergingSettings(kept_ratio=mixture, schedule="constant", slowfast=True)
    assert settings.mergings == tuple(
        TokenMerging(kept_ratio=ratio, schedule="constant", slowfast=True) for ratio in (0.1, 1.0)
    )
    assert settings.largest.kept_ratio == 1.0
    assert settings.trained_ratios == (0.1, 1.0)
    assert settings.mixture.shares == (0.5, 0.5)


@pytest.mark.parametrize(
    ("value", "finding"),
    [
        ("{ratios: []}", "merging.kept_ratio.ratios: []"),
        ("{ratios: [0.1, 1.5]}", "merging.kept_ratio.ratios.1: 1.5"),
        ("{ratios: [0.1, 0.0]}", "merging.kept_ratio.ratios.0: 0.0"),
        ("{ratios: [0.5, 0.5]}", "a ratio is there twice"),
        ("{ratios: [0.1, 0.5], weights: [1]}", "1 weights for 2 ratios"),
        ("{ratios: [0.1, 0.5], weights: [1, -1]}", "merging.kept_ratio.weights.1: -1"),
        ("{ratios: [0.1], weight: [1]}", "merging.kept_ratio.weight"),
        ("{weights: [1]}", "merging.kept_ratio.ratios: must be given"),
        ("1.5", "'1.5' (from --set) is not allowed: expected float, above 0.0 and at most 1.0, or mapping"),
        ("few", "'few' (from --set) is not allowed: expected float, above 0.0 and at most 1.0, or mapping"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(tmp_path: Path, value: str, finding: str) -> None:
    with pytest.raises(SettingsError) as caught:
        at(tmp_path, f"merging.kept_ratio={value}")
    assert finding in str(caught.value)
    assert "a mixture" not in str(caught.value)
    assert "a number" not in str(caught.value)


def test_one_call_merges_at_one_ratio() -> None:
    with pytest.raises(ValidationError):
        TokenMerging.model_validate({"kept_ratio": {"ratios": [0.1, 1.0]}})
