"""A new projector that is fitted to features and words, against the same done slowly; and where none is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu
from transformers import LlavaConfig
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from aurora_cli.checkpoints.loading import load_model
from aurora_cli.config.settings import Settings
from aurora_cli.models.assign import assign_whole
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.pipeline.train import build_model, new_projector
from aurora_cli.pipeline.train import command as train
from aurora_cli.pipeline.train.build_data import plan_data
from aurora_cli.pipeline.train.build_model import build_network, open_start
from aurora_cli.pipeline.train.new_projector import Spread, fit, sample_features, sample_frames, spread_of
from aurora_cli.pipeline.train.plan import plan_stage
from tests.captioners import WEIGHTS
from tests.distributed.tiny_workspace import make, settings

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
PARTS = {
    "vision_tower": str(WEIGHTS / "visual_encoder"),
    "language_model": str(WEIGHTS / "llm"),
    "vision_config": None,
    "text_config": None,
    "image_size": 56,
}
PIXELS = Settings().model


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    make(folder, "projection", images=12, videos=3, texts=3)
    return folder


def of_parts(root: Path, **how: Any) -> Settings:
    tree = settings(root, "projection", **how).model_dump(mode="json")
    return Settings.model_validate({**tree, "model": tree["model"] | PARTS})


def built(chosen: Settings) -> AuroraCap:
    return build_network(plan_stage(chosen), assign_whole).model


def projector_of(model: AuroraCap) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in model.model.multi_modal_projector.named_parameters()}


def drawn_projector(inputs: int, outputs: int) -> LlavaMultiModalProjector:
    config: Any = LlavaConfig()
    config.vision_config.hidden_size, config.text_config.hidden_size = inputs, outputs
    return LlavaMultiModalProjector(config)


def written_by(weights: dict[str, Tensor], features_NC: Tensor) -> Tensor:
    hidden = gelu(features_NC @ weights["linear_1.weight"].T + weights["linear_1.bias"])
    return hidden @ weights["linear_2.weight"].T + weights["linear_2.bias"]


def slowly_fitted(drawn: dict[str, Tensor], features_NC: Tensor, words_VC: Tensor, some_NC: Tensor) -> Tensor:
    """What the drawn projector makes of standardised features, standardised, at the words' mean and deviation."""
    mean, deviation = features_NC.mean(0), features_NC.std(0, correction=0)
    of_sample = written_by(drawn, (features_NC - mean) / deviation)
    of_some = written_by(drawn, (some_NC - mean) / deviation)
    standard = (of_some - of_sample.mean(0)) / of_sample.std(0, correction=0)
    return standard * words_VC.std(0, correction=0) + words_VC.mean(0)


def test_a_fitted_projector_writes_what_standardising_on_both_sides_would() -> None:
    torch.manual_seed(0)
    projector = drawn_projector(24, 40)
    drawn = {name: weight.detach().clone() for name, weight in projector.named_parameters()}
    features = torch.randn(5000, 24) * torch.logspace(-2, 2, 24) + torch.linspace(-30, 30, 24)
    words, new = torch.randn(300, 40) * 0.1 + torch.randn(40), features[:50] * 1.1
    fit(projector, features, spread_of([words[:100], words[100:]]))
    fitted = {name: weight.detach() for name, weight in projector.named_parameters()}
    torch.testing.assert_close(
        written_by(fitted, new), slowly_fitted(drawn, features, words, new), rtol=1e-3, atol=1e-3
    )
    after = spread_of([written_by(fitted, features)])
    torch.testing.assert_close(after.mean_C, words.mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after.deviation_C, words.std(0, correction=0), rtol=1e-3, atol=1e-4)


def test_a_channel_that_hardly_differs_gets_no_weight_without_bound() -> None:
    projector = drawn_projector(5, 4)
    before = projector.linear_1.weight.detach().clone()
    two_tokens = torch.tensor([[5.0, 1.0, 2.0, 0.0, 0.0], [5.0, 3.0, 6.0, 0.0002, 0.0]])
    fit(projector, two_tokens, Spread(torch.zeros(4), torch.ones(4)))
    # deviations 0, 1, 2, 0.0001 and 0; of those above 0 the median is 1: the fourth is taken to be a thousandth of it,
    # and those of 0, of which nothing is known, to be as large
    torch.testing.assert_close(projector.linear_1.weight, before / torch.tensor([1.0, 1.0, 2.0, 0.001, 1.0]))


@pytest.mark.parametrize("alike", [1, 0.7])
@pytest.mark.parametrize("tokens", [1, 500])
def test_features_that_say_little_leave_a_projector_that_writes_like_words(tokens: int, alike: float) -> None:
    """One token of one image, or channels that are silent in the sample: others still come out of a size of words."""
    torch.manual_seed(0)
    features_NC = 3 * torch.randn(64) + torch.randn(tokens + 100, 64)
    sample_NC = features_NC[:tokens].clone()
    sample_NC[:, : int(64 * alike)] = sample_NC[0, : int(64 * alike)].clone()
    projector = drawn_projector(64, 96)
    fit(projector, sample_NC, Spread(torch.zeros(96), torch.full((96,), 0.02)))
    with torch.no_grad():
        assert projector(features_NC[tokens:]).abs().max() < 25 * 0.02
        assert projector.half()(features_NC[tokens:].half()).abs().max() < 25 * 0.02


@pytest.mark.slow
def test_a_run_of_two_models_begins_with_a_projector_that_fits_its_data(root: Path) -> None:
    drawn, fitted = (built(of_parts(root, projector_start=how)) for how in ("random", "fitted"))
    assert not torch.equal(projector_of(drawn)["linear_1.weight"], projector_of(fitted)["linear_1.weight"])
    plan = plan_stage(of_parts(root))
    assert plan.fits_projector
    frames = list(sample_frames(plan_data(plan, fitted.config)))
    assert len(frames) == 15  # every image, and of each video the frame in its middle
    pixels = torch.cat([torch.from_numpy(frame) for frame in frames]).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (PIXELS.image_mean, PIXELS.image_std))
    with torch.no_grad():
        features = fitted.encode_images((pixels - mean) / std).flatten(0, 1)
    words: Any = fitted.get_input_embeddings().weight
    torch.manual_seed(plan.settings.train.seed)
    layers = LlavaMultiModalProjector(fitted.config).named_parameters()
    torch.testing.assert_close(
        written_by(projector_of(fitted), features),
        slowly_fitted({name: weight.detach() for name, weight in layers}, features, words.detach(), features),
        rtol=1e-3,
        atol=1e-3,
    )
    mine, others = ({n: p for n, p in one.named_parameters() if "projector" not in n} for one in (fitted, drawn))
    assert all(torch.equal(mine[name], others[name]) for name in mine)
    again = projector_of(built(of_parts(root)))
    assert all(torch.equal(again[name], weight) for name, weight in projector_of(fitted).items())


@pytest.mark.slow
def test_frames_are_spread_over_the_data_and_what_cannot_be_read_is_passed_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_projector, "FRAMES", 4)
    plan = plan_stage(of_parts(root))
    start = open_start(plan)
    data = plan_data(plan, build_model.build(start, fresh=frozenset({"projector"})).config)
    assert len(list(sample_frames(data))) == 4  # of 15: the first, fifth, ninth and thirteenth
    broken = root / "data/projection/images/4.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"no image")
    try:
        assert len(list(sample_frames(data))) == 3
    finally:
        broken.write_bytes(whole)
    assert len(list(sample_features(plan, start))) == 4


@pytest.mark.slow
def test_what_goes_on_or_starts_from_a_projector_has_none_fitted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train.run(of_parts(root, max_steps=2, resume="never"))
    kept = projector_of(load_model(root / "runs/projection"))

    def unwanted(*_: object) -> dict[str, Tensor]:
        raise AssertionError("a projector was fitted")

    monkeypatch.setattr(build_model, "new_projector", unwanted)
    resumed = projector_of(built(of_parts(root, max_steps=4)))
    started = projector_of(built(of_parts(root, init_from="runs/projection", run_dir="runs/other")))
    for name, weight in kept.items():
        assert torch.equal(resumed[name], weight)
        assert torch.equal(started[name], weight)
    with pytest.raises(AssertionError, match="was fitted"):
        built(of_parts(root, resume="never"))


@pytest.mark.slow
def test_without_a_frame_in_the_data_the_projector_is_drawn_alone(root: Path) -> None:
    data = ["tokenized/projection/texts/merged"]
    how = [of_parts(root, projector_start=start, data=data, resume="never") for start in ("random", "fitted")]
    drawn, fitted = (projector_of(built(one)) for one in how)
    assert all(torch.equal(drawn[name], weight) for name, weight in fitted.items())
