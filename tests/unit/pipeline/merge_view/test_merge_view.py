import json
import shutil

import pytest
from PIL import Image

from aurora_cli.config.settings import MergeViewSettings, Settings
from aurora_cli.demo.dataset import encode_video
from aurora_cli.errors import DataError, SettingsError, UsageError
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.pipeline.merge_view import command as merge_view
from aurora_cli.pipeline.merge_view import figure
from aurora_cli.pipeline.merge_view.command import ShownView
from tests.captioners import GOLDEN, MODEL, WEIGHTS, make_runs

IMAGE = GOLDEN / "pixels" / "images" / "im_120x160.png"


def view(workspace, **fields):
    settings = MergeViewSettings(**({"image": IMAGE, "device": "cpu"} | fields))
    return merge_view.run(Settings(workspace=workspace, model=MODEL, merge_view=settings))


@pytest.mark.slow
def test_without_arguments_the_newest_model_shows_the_usual_ratios_that_it_can_reach(tmp_path):
    make_runs(tmp_path)  # 16 patches, two layers that merge: 4 patches at least
    result = view(tmp_path)
    assert result.views == (ShownView(1.0, 16), ShownView(0.5, 8))
    assert [line.partition(",")[0] for line in result.left_out] == [
        f"left out: kept ratio {ratio}" for ratio in (0.2, 0.1)
    ]
    assert result.output == str(tmp_path / "im_120x160.merged.png")
    with Image.open(result.output) as image:
        assert json.loads(image.text["aurora"])["kept_ratios"] == [1.0, 0.5]
    assert any("8 of 16 tokens (50.0%)" in line for line in result.lines())


def test_a_view_has_as_many_regions_as_tokens_reach_the_projector(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figure, "draw", lambda image, patch_size, views, file, facts: drawn.extend(views))
    ratios = (1.0, 0.7, 0.4, 0.2)
    result = view(tmp_path, model=str(WEIGHTS), token_kept_ratios=ratios)
    assert result.schedule == "constant"
    assert [shown.tokens for shown in drawn] == [
        36,
        31,
        21,
        16,
    ]  # int(36 * 0.3 / 6) = 1, then 3 and 4, in each of five layers
    for shown in drawn:
        assert shown.region_RC.shape == (6, 6)
        assert sorted(set(shown.region_RC.flatten().tolist())) == list(range(shown.tokens))


def test_only_the_tower_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(AuroraCap, "__init__", lambda *_: pytest.fail("the whole model was built"))
    view(tmp_path, model=str(WEIGHTS), token_kept_ratios=(0.5,), output=tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.format == "PNG"


@pytest.mark.slow
def test_the_same_call_writes_the_same_bytes(tmp_path):
    files = [tmp_path / name for name in ("one.png", "two.png")]
    for file in files:
        view(tmp_path, model=str(WEIGHTS), output=file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_requested_ratio_that_cannot_be_names_the_least(tmp_path):
    make_runs(tmp_path)
    with pytest.raises(SettingsError, match="2 layers keep at least 4 of them"):
        view(tmp_path, token_kept_ratios=(0.5, 0.1))
    assert not list(tmp_path.glob("*.png"))


def test_without_a_model_or_an_image_the_next_command_is_named(tmp_path):
    with pytest.raises(UsageError) as no_image:
        view(tmp_path, image=None)
    assert no_image.value.hint == "aurora merge-view image.jpg"
    with pytest.raises(DataError, match="there is no model here") as no_model:
        view(tmp_path)
    assert "aurora train" in (no_model.value.hint or "")
    with pytest.raises(DataError, match=r"holiday.jpg: is not there; an image or a video was expected"):
        view(tmp_path, image="holiday.jpg", model=str(WEIGHTS))


def test_the_image_is_never_written_over(tmp_path):
    shutil.copy(IMAGE, tmp_path / "own.png")
    with pytest.raises(UsageError, match="is the image itself"):
        view(tmp_path, image="own.png", output="own.png", model=str(WEIGHTS))
    with pytest.raises(UsageError, match=r"a name that ends in .png was expected"):
        view(tmp_path, output="own.jpg", model=str(WEIGHTS))
    assert (tmp_path / "own.png").read_bytes() == IMAGE.read_bytes()


def test_a_damaged_image_is_named_and_nothing_is_written(tmp_path):
    (tmp_path / "bad.png").write_bytes(IMAGE.read_bytes()[:200])
    with pytest.raises(DataError, match=r"bad.png"):
        view(tmp_path, image="bad.png", model=str(WEIGHTS))
    assert not list(tmp_path.glob("*.merged.png"))


def test_a_dry_run_says_what_would_be_drawn_and_touches_nothing(tmp_path):
    settings = MergeViewSettings(image=IMAGE, model=str(WEIGHTS))
    result = merge_view.run(Settings(workspace=tmp_path, merge_view=settings), dry_run=True)
    assert result.lines() == [f"Would run the vision tower of {WEIGHTS} and draw {tmp_path / 'im_120x160.merged.png'}"]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_of_a_video_the_middle_frame_is_shown(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figure, "draw", lambda image, *_, **__: drawn.append(image))
    shades = [Image.new("RGB", (64, 64), (shade,) * 3) for shade in (10, 10, 200, 10, 10)]
    (tmp_path / "clip.mp4").write_bytes(encode_video(shades))
    view(tmp_path, image="clip.mp4", model=str(WEIGHTS))
    assert abs(float(drawn[0].mean()) - 200) < 4
