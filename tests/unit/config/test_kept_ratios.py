"""`merging.kept_ratio`: a number, or several with their weights."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from aurora_cli.config.merging import MergingSettings, RatioMixture, TokenMerging
from aurora_cli.config.resolve import Resolved, dump_yaml, load_resolved, resolve
from aurora_cli.errors import SettingsError
from aurora_cli.runs.recipe import recipe_of

RANGE = "expected float, above 0.0 and at most 1.0"
LIST = "expected list, of at least 1 and at most 32"


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


def test_a_mixture_of_one_source_is_not_mixed_with_another_s(tmp_path: Path) -> None:
    """Its weights would be of other ratios. A dotted path names a part of what is there."""
    (tmp_path / "aurora.yaml").write_text("merging: {kept_ratio: {ratios: [0.25, 0.5, 1.0], weights: [3, 2, 1]}}")
    whole = at(tmp_path, "merging.kept_ratio={ratios: [0.5, 1]}")
    assert whole.settings.merging.kept_ratio == RatioMixture(ratios=(0.5, 1.0))
    assert whole.origin("merging.kept_ratio") == "--set"
    for part in ("merging.kept_ratio.weights=[4, 2, 1]", "token_kept_ratio.weights=[4, 2, 1]"):
        kept = at(tmp_path, part).settings.merging.kept_ratio
        assert kept == RatioMixture(ratios=(0.25, 0.5, 1.0), weights=(4, 2, 1))
    assert at(tmp_path).settings.merging.kept_ratio == RatioMixture(ratios=(0.25, 0.5, 1.0), weights=(3, 2, 1))


def test_more_ratios_than_a_plan_can_go_over_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=LIST):
        at(tmp_path, f"merging.kept_ratio={{ratios: {[share / 7500 for share in range(1, 7501)]}}}")


def test_each_mistake_in_a_mixture_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        at(tmp_path, "merging.kept_ratio={ratios: [.nan]}")
    assert str(caught.value) == f"merging.kept_ratio.ratios.0: nan (from --set) is not allowed: {RANGE}"


def test_true_is_no_ratio(tmp_path: Path) -> None:
    (tmp_path / "aurora.yaml").write_text(
        "{merging: {kept_ratio: true}, caption: {token_kept_ratio: true}, train: {distill_ratio: true}}"
    )
    with pytest.raises(SettingsError) as caught:
        at(tmp_path)
    assert str(caught.value).count(f"True (from aurora.yaml) is not allowed: {RANGE}") == 3


@pytest.mark.parametrize(
    ("value", "finding"),
    [
        ("{ratios: []}", f"merging.kept_ratio.ratios: [] (from --set) is not allowed: {LIST}"),
        ("{ratios: 0.5}", f"merging.kept_ratio.ratios: 0.5 (from --set) is not allowed: {LIST}"),
        ("{ratios: [0.5, 1.5, 0.1]}", f"merging.kept_ratio.ratios.1: 1.5 (from --set) is not allowed: {RANGE}"),
        ("{ratios: [0.1, 0.0]}", "merging.kept_ratio.ratios.1: 0.0"),
        ("{ratios: [0.5, true]}", f"merging.kept_ratio.ratios.1: True (from --set) is not allowed: {RANGE}"),
        ("{ratios: [0.5, 0.5]}", "a ratio is there twice"),
        ("{ratios: [0.1, 0.5], weights: [1]}", "1 weights for 2 ratios"),
        (
            "{ratios: [0.5, 0.1], weights: [1, -1]}",
            "weights.1: -1 (from --set) is not allowed: expected float, above 0",
        ),
        (
            "{ratios: [0.1], weight: [1]}",
            "merging.kept_ratio.weight (from --set): there is no such setting; did you mean "
            "merging.kept_ratio.weights?",
        ),
        ("{weights: [1]}", "merging.kept_ratio.ratios: must be given"),
        ("{}", "merging.kept_ratio.ratios: must be given (from --set)"),
        ("1.5", f"'1.5' (from --set) is not allowed: {RANGE}, or mapping like {{ratios: ["),
        ("nan", f"'nan' (from --set) is not allowed: {RANGE}, or mapping"),
        ("[0.1, 0.5]", f"[0.1, 0.5] (from --set) is not allowed: {RANGE}, or mapping like {{ratios: ["),
        ("few", f"'few' (from --set) is not allowed: {RANGE}, or mapping"),
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
