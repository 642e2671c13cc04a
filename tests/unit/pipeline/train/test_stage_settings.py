"""What a stage starts from wins over the preset: exports, runs, runs that go on."""

import json
import shutil
from pathlib import Path

import pytest

from aurora_cli.config.presets import presets_folder
from aurora_cli.config.resolve import resolve
from aurora_cli.errors import UsageError
from aurora_cli.pipeline.own_parts import OwnSettings
from aurora_cli.pipeline.train.stages.stage_settings import stage_settings
from tests.captioners import make_runs
from tests.own_parts import PROCESSOR, VISION

FIXTURE = Path(__file__).parents[3] / "fixtures" / "workspace-0.1.0"


def of_stage(root: Path, *sets: str, preset: str = "auroracap-7b", stage: str = "language") -> OwnSettings:
    typed = {"workspace": ("--workspace", str(root)), "preset": ("--preset", preset), "train.stage": ("--stage", stage)}
    return stage_settings(resolve(typed, sets, environment={}))


def test_a_stage_sees_images_as_the_stage_before_did(tmp_path: Path) -> None:
    """The runs are of 56 px; the preset that is not named any more said so, and the default one says 378."""
    make_runs(tmp_path)
    shutil.rmtree(tmp_path / "runs" / "language")
    own = of_stage(tmp_path, "train.after=projection")
    assert own.settings.model.image_size == 56
    (line,) = own.lines()
    assert line.startswith("settings that come from ")
    assert (
        "runs/projection/checkpoints/step-00000002/checkpoint.json: model.image_size 56 (preset auroracap-7b: 378)"
        in line
    )


def test_an_export_to_start_from_says_its_size_and_colours(tmp_path: Path) -> None:
    export = tmp_path / "export"
    shutil.copytree(FIXTURE / "export" / "huggingface", export)
    size = json.loads((export / "aurora.json").read_text())["model"]["image_size"]
    assert size != 378
    assert of_stage(tmp_path, "train.init_from=export").settings.model.image_size == size
    explicit = of_stage(tmp_path, "train.init_from=export", "model.image_size=84")
    assert explicit.settings.model.image_size == 84


def test_a_foreign_captioner_says_it_in_its_processors_file(tmp_path: Path) -> None:
    folder = tmp_path / "llava"
    folder.mkdir()
    vision = {"model_type": "clip_vision_model", **VISION}
    config = {"model_type": "llava", "vision_config": vision, "text_config": {"model_type": "llama"}}
    (folder / "config.json").write_text(json.dumps({**config, "vision_feature_layer": -1}))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    model = of_stage(tmp_path, "train.init_from=llava").settings.model
    assert (model.image_size, model.image_mean, model.feature_layer) == (56, (0.5, 0.4, 0.3), -1)


def test_a_part_that_the_weights_do_not_have_is_refused(tmp_path: Path) -> None:
    make_runs(tmp_path)
    shutil.rmtree(tmp_path / "runs" / "language")
    with pytest.raises(UsageError, match=r"model\.vision_tower: other \(from --set\) would do nothing") as caught:
        of_stage(tmp_path, "train.after=projection", "model.vision_tower=other")
    assert "Leave --vision-tower out" in str(caught.value)


def test_a_workspace_of_an_earlier_version_goes_on_with_the_settings_that_it_had(tmp_path: Path) -> None:
    """Also where the preset says something else by now: its last stage trained at one kept ratio, and faster."""
    root = tmp_path / "workspace"
    shutil.copytree(FIXTURE, root)
    for stage in ("projection", "vision", "language"):
        typed = {"workspace": ("--workspace", str(root)), "train.stage": ("--stage", stage)}
        resolved = resolve(typed, environment={})
        own = stage_settings(resolved)
        expected = resolved.settings
        if stage == "language":
            train = expected.train
            parts = {name: getattr(train, name) for name in ("projector", "vision_tower", "language_model")}
            then = {name: part.model_copy(update={"lr": 2e-3}) for name, part in parts.items()}
            merging = expected.merging.model_copy(update={"kept_ratio": 0.5})
            expected = expected.model_copy(update={"merging": merging, "train": train.model_copy(update=then)})
        assert own.settings == expected
    (line,) = own.lines()
    assert "merging.kept_ratio 0.5 (preset tiny, language: " in line


@pytest.mark.parametrize("preset", ["tiny", "own"])
def test_what_somebody_says_is_not_taken_as_the_run_began(tmp_path: Path, preset: str) -> None:
    """Nor what a preset of one's own says, nor another one than the run's."""
    root = tmp_path / "workspace"
    shutil.copytree(FIXTURE, root)
    (root / "presets").mkdir()
    shutil.copytree(presets_folder() / "tiny", root / "presets" / "own")
    config = root / "runs" / "language" / "config.yaml"
    assert of_stage(root, preset="auroracap-7b").settings.train.betas == (0.9, 0.999)
    if preset == "own":
        config.write_text(config.read_text().replace("preset: tiny", "preset: own"))
        assert of_stage(root, preset="own").settings.merging.trained_ratios == (0.25, 0.5, 1.0)
        return
    typed = of_stage(root, "merging.kept_ratio=0.25", "train.betas=[0.9, 0.95]", preset="tiny").settings
    assert (typed.merging.kept_ratio, typed.train.betas) == (0.25, (0.9, 0.95))
    again = of_stage(root, "train.resume=never", preset="tiny").settings
    assert again.merging.trained_ratios == (0.25, 0.5, 1.0)


def test_a_mixture_that_a_run_began_with_is_one_again(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    shutil.copytree(FIXTURE, root)
    (state,) = root.glob("runs/language/checkpoints/step-00000003/resume/state.json")
    stored = json.loads(state.read_text())
    del stored["recipe"]["merging.kept_ratio"]
    stored["recipe"] |= {"merging.kept_ratio.ratios": [0.1, 1.0], "merging.kept_ratio.weights": [3.0, 1.0]}
    state.write_text(json.dumps(stored))
    mixture = of_stage(root, preset="tiny").settings.merging.mixture
    assert (mixture.ratios, mixture.weights) == ((0.1, 1.0), (3.0, 1.0))
