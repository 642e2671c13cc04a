"""Settings: which source wins, and what a wrong value's message says."""

import contextlib
import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.config.resolve import dump_yaml, load_resolved, resolve
from aurora_cli.config.settings import Settings
from aurora_cli.errors import SettingsError


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path


def at(workspace: Path, **more):
    flags = {"workspace": ("--workspace", str(workspace)), **more.pop("flags", {})}
    return resolve(flags, environment=more.pop("environment", {}), **more)


def test_each_source_beats_the_one_below_it(workspace: Path) -> None:
    """The recipe's warm-up is 0.03; each source in turn says another."""
    assert at(workspace).settings.train.warmup_ratio == 0.03
    (workspace / "aurora.yaml").write_text("train: {warmup_ratio: 0.1}")
    assert at(workspace).settings.train.warmup_ratio == 0.1
    config = workspace / "mine.yaml"
    config.write_text("train: {warmup_ratio: 0.2}")
    assert at(workspace, config=config).settings.train.warmup_ratio == 0.2
    environment = {"AURORA_TRAIN__WARMUP_RATIO": "0.3"}
    assert at(workspace, config=config, environment=environment).settings.train.warmup_ratio == 0.3
    flags = {"train.warmup_ratio": ("--warm-up", "0.4")}
    assert at(workspace, config=config, environment=environment, flags=flags).settings.train.warmup_ratio == 0.4
    resolved = at(
        workspace,
        config=config,
        environment=environment,
        flags=flags,
        sets=["train.warmup_ratio=0.5", "train.warmup_ratio=0.6"],
    )
    assert resolved.settings.train.warmup_ratio == 0.6
    assert resolved.origins["train.warmup_ratio"] == "--set"


def test_a_stage_of_a_file_beats_its_common_part_and_other_stages_do_not_show(workspace: Path) -> None:
    (workspace / "aurora.yaml").write_text(
        "train: {epochs: 3}\nstages: {vision: {train: {epochs: 4}}, language: {train: {epochs: 5}}}"
    )
    stage = {"train.stage": ("--stage", "vision")}
    assert at(workspace, flags=stage).settings.train.epochs == 4
    assert at(workspace, flags=stage).settings.train.after == "projection"
    assert at(workspace).settings.train.epochs == 3


def test_mappings_merge_and_null_takes_away(workspace: Path) -> None:
    (workspace / "aurora.yaml").write_text("model: {vision_config: {hidden_size: 64, num_hidden_layers: 4}}")
    settings = at(workspace, sets=["model.vision_config.hidden_size=32", "train.projector=null"]).settings
    assert settings.model.vision_config == {"hidden_size": 32, "num_hidden_layers": 4}
    assert settings.train.projector is None


@pytest.mark.parametrize(
    "key",
    ["token_kept_ratio", "visual_token_merge_ratio", "merging.token_kept_ratio", "train.visual_token_merge_ratio"],
)
def test_the_originals_name_of_the_kept_ratio_is_understood(workspace: Path, key: str) -> None:
    assert at(workspace, sets=[f"{key}=0.25"]).settings.merging.kept_ratio == 0.25


def test_a_wrong_value_is_told_with_path_value_source_and_range(workspace: Path) -> None:
    (workspace / "aurora.yaml").write_text("train: {epochs: -1}")
    with pytest.raises(SettingsError) as caught:
        at(workspace, sets=["data.batching=loose", "merging.kept_ratio=2"])
    message = str(caught.value)
    assert "train.epochs: -1 (from aurora.yaml) is not allowed: expected float, above 0.0" in message
    assert "data.batching: 'loose' (from --set) is not allowed: expected one of packed, grouped, padded" in message
    assert "merging.kept_ratio: '2' (from --set) is not allowed: expected float, above 0.0 and at most 1.0" in message


def test_a_wrong_item_of_a_list_is_told_with_its_range(workspace: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        at(workspace, flags={"merge_view.token_kept_ratios": ("--token-kept-ratio", ["0.5", "1.5"])})
    assert str(caught.value) == (
        "merge_view.token_kept_ratios.1: '1.5' (from --token-kept-ratio) is not allowed: "
        "expected float, above 0.0 and at most 1.0"
    )
    (workspace / "aurora.yaml").write_text("merge_view: {token_kept_ratios: 0.3}")
    assert at(workspace).settings.merge_view.token_kept_ratios == (0.3,)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("train.epoch", "train.epochs"), ("tokenise.batch_size", "tokenize.batch_size"), ("max_steps", "train.max_steps")],
)
def test_an_unknown_key_gets_a_did_you_mean(workspace: Path, typed: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=f"there is no such setting; did you mean {meant}"):
        at(workspace, sets=[f"{typed}=1"])


def test_an_unknown_environment_variable_is_an_error(workspace: Path) -> None:
    with pytest.raises(SettingsError, match="AURORA_TRAIN__EPOCH"):
        at(workspace, environment={"AURORA_TRAIN__EPOCH": "2"})


def test_words_for_lists_and_yaml_lists_are_both_lists(workspace: Path) -> None:
    assert at(workspace, environment={"AURORA_DOWNLOAD__SPLITS": "vision"}).settings.download.splits == ("vision",)
    assert at(workspace, sets=["download.splits=[vision, language]"]).settings.download.splits == ("vision", "language")


def test_a_revision_of_digits_stays_a_word(workspace: Path) -> None:
    assert at(workspace, sets=["download.revision=1.10"]).settings.download.revision == "1.10"


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("train: {epochs: 1}\ntrain: {epochs: 2}", "`train` stands twice"),
        ("- a\n- b", "expected `key: value` lines"),
        ("train: [", "not readable as YAML"),
        ("stages: [vision]", "expected a mapping from stage"),
    ],
)
def test_a_broken_settings_file_says_what_is_wrong(workspace: Path, text: str, finding: str) -> None:
    (workspace / "aurora.yaml").write_text(text)
    with pytest.raises(SettingsError, match=finding):
        at(workspace)


def test_an_unknown_preset_and_an_unknown_stage_list_what_there_is(workspace: Path) -> None:
    with pytest.raises(SettingsError, match="auroracap-7b"):
        at(workspace, flags={"preset": ("--preset", "nothing")})
    with pytest.raises(SettingsError, match="one of projection, vision, language"):
        at(workspace, flags={"train.stage": ("--stage", "visoin")})


def test_a_preset_may_be_a_file_with_a_stage_of_its_own(workspace: Path) -> None:
    (workspace / "mine.yaml").write_text("stages: {polish: {train: {after: language, projector: {lr: 1.0e-6}}}}")
    flags = {"preset": ("--preset", "mine.yaml"), "train.stage": ("--stage", "polish")}
    assert at(workspace, flags=flags).settings.train.after == "language"


def test_saved_settings_come_back_equal(workspace: Path) -> None:
    settings = at(workspace, flags={"train.stage": ("--stage", "language")}).settings
    path = workspace / "config.yaml"
    path.write_text(dump_yaml(settings))
    assert load_resolved(path) == settings


LOWEST_FIRST = ("default", "preset", "aurora.yaml", "--config", "environment", "flag", "--set")
PATHS = ("checkpoint.every", "data.fps", "tokenize.batch_size", "train.max_steps", "train.projector.lr")


@pytest.mark.slow
@given(
    path=st.sampled_from(PATHS),
    given_by=st.sets(st.sampled_from(LOWEST_FIRST[1:])),
    of_a_stage=st.sets(st.sampled_from(LOWEST_FIRST[1:4])),
)
def test_of_all_sources_that_give_a_setting_the_highest_wins(
    path: str, given_by: set[str], of_a_stage: set[str]
) -> None:
    """Each source gives another number. In a file it may stand under the stage, which beats what all stages share."""
    numbers = {source: rank + 1 for rank, source in enumerate(LOWEST_FIRST)}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        files = {"preset": "preset.yaml", "aurora.yaml": "aurora.yaml", "--config": "config.yaml"}
        for source, name in files.items():
            tree = nested(path, numbers[source]) if source in given_by else {}
            if source in of_a_stage and tree:
                tree = {**nested(path, 99), "stages": {"vision": tree}}
            (workspace / name).write_text(yaml.safe_dump({"stages": {"vision": {}}, **tree}))
        variable = f"AURORA_{path.upper().replace('.', '__')}"
        resolved = resolve(
            flags={
                "workspace": ("--workspace", folder),
                "preset": ("--preset", "preset.yaml"),
                **({path: ("--it", numbers["flag"])} if "flag" in given_by else {}),
            },
            sets=[f"{path}={numbers['--set']}"] if "--set" in given_by else [],
            config=workspace / "config.yaml",
            environment={variable: str(numbers["environment"])} if "environment" in given_by else {},
        )
    highest = max(given_by, key=LOWEST_FIRST.index, default="")
    expected = numbers[highest] if given_by else value_at(Settings(), path)
    assert value_at(resolved.settings, path) == expected
    assert (path in resolved.origins) == bool(given_by)


def nested(path: str, value: object) -> dict[str, Any]:
    tree: Any = value
    for key in reversed(path.split(".")):
        tree = {key: tree}
    return tree


def value_at(settings: Settings, path: str) -> object:
    return functools.reduce(lambda section, name: getattr(section, name, None), path.split("."), settings)


@pytest.mark.slow
@given(st.text(), st.text())
def test_any_assignment_resolves_or_is_a_settings_error(key: str, value: str) -> None:
    with contextlib.suppress(SettingsError):
        resolve(sets=[f"{key}={value}"], environment={})


@pytest.mark.slow
def test_a_setting_is_read_under_the_name_that_an_earlier_version_gave_it(tmp_path: Path) -> None:
    (tmp_path / "aurora.yaml").write_text("demo: {pictures: 60}")
    environment = {"AURORA_WORKSPACE": str(tmp_path), "AURORA_DEMO__CLIPS": "24"}
    resolved = resolve(environment=environment)
    assert (resolved.settings.demo.images, resolved.settings.demo.videos) == (60, 24)
    (tmp_path / "config.yaml").write_text(dump_yaml(resolved.settings).replace("videos: 24", "clips: 25"))
    assert load_resolved(tmp_path / "config.yaml").demo.videos == 25


def test_a_key_in_the_environment_is_no_setting_and_in_no_message():
    environment = {"AURORA_JUDGE_KEY": "sk-1", "AURORA_MY_OWN_KEY": "sk-2", "AURORA_EVALUATE__SEED": "7"}
    assert resolve(environment=environment).settings.evaluate.seed == 7
    with pytest.raises(SettingsError) as error:
        resolve(environment={**environment, "AURORA_NOTHING": "x"})
    assert "sk-" not in str(error.value)
