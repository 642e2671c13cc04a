"""`aurora presets`: what it lists is what the stages resolve to."""

from aurora_cli.config.settings import Settings
from aurora_cli.pipeline import presets


def test_every_stage_is_listed_with_what_it_trains() -> None:
    result = presets.run(Settings())
    projection, vision, language = result.presets["auroracap-7b"]
    assert projection.trains == {"projector": 2e-4}
    assert vision.trains == {"projector": 1e-4, "vision_tower": 1e-4}
    assert set(language.trains) == {"projector", "vision_tower", "language_model"}
    assert "from vision: projector at 2e-05" in "\n".join(result.lines())
