import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.errors import UsageError
from aurora_cli.pipeline.train.distill import check_distill


def settings(ratio: object, wanted: float | None) -> Settings:
    return Settings.model_validate({"merging": {"kept_ratio": ratio}, "train": {"distill_ratio": wanted}})


def test_a_ratio_to_learn_from_is_one_of_a_mixture_s_and_not_its_smallest() -> None:
    mixture = {"ratios": [0.1, 0.5, 1.0]}
    for fine in (settings(0.5, None), settings(mixture, None), settings(mixture, 1.0), settings(mixture, 0.5)):
        check_distill(fine)
    with pytest.raises(UsageError, match=r"kept ratios 0\.1, 0\.5, 1; 0\.7 is none of them"):
        check_distill(settings(mixture, 0.7))
    with pytest.raises(UsageError, match=r"0\.1 is the smallest, which no other learns from") as caught:
        check_distill(settings(mixture, 0.1))
    assert caught.value.hint == "--set train.distill_ratio=1"
    with pytest.raises(UsageError, match=r"trains at one kept ratio, 0\.5"):
        check_distill(settings(0.5, 1.0))
