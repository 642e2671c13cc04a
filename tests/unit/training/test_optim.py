"""Parameter groups and the schedule."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from aurora_cli.config.training import ModuleTraining, TrainSettings
from aurora_cli.errors import UsageError
from aurora_cli.training.optim import freeze_all_but, parameter_groups, trained_parameters
from aurora_cli.training.schedule import lr_factor
from aurora_cli.training.trained_parts import trained_parts


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Linear(3, 3)
        self.projector = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        self.unused = nn.Linear(2, 2)

    def part_parameters(self, part: str) -> dict[str, nn.Parameter]:
        prefix = {"vision_tower": "tower.", "projector": "projector."}[part]
        return {name: p for name, p in self.named_parameters() if name.startswith(prefix)}


def test_a_rise_of_two_steps_and_half_a_cosine_over_the_other_four() -> None:
    # 6 steps, a third of them rising: 1/2, 2/2; then (1 + cos(pi k / 5)) / 2 for k = 1 .. 4
    worked = [0.5, 1.0, *((1 + math.cos(math.pi * k / 5)) / 2 for k in range(1, 5))]
    assert [lr_factor(step, 6, 1 / 3) for step in range(1, 7)] == pytest.approx(worked)


@given(st.integers(1, 5000), st.floats(0, 0.99))
def test_every_step_has_a_rate_above_nothing_and_at_most_the_peak(total: int, warmup_ratio: float) -> None:
    for step in {1, 2, total // 2 + 1, total}:
        assert 0.0 < lr_factor(min(step, total), total, warmup_ratio) <= 1.0


def test_without_a_rise_the_first_step_is_not_lost() -> None:
    assert lr_factor(1, 1, 0.0) == pytest.approx(0.5)
    assert lr_factor(1, 100, 0.0) > 0.999


def test_only_the_named_parts_learn() -> None:
    network = Network()
    freeze_all_but(network, trained_parameters(network, ["projector"]))
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {
        "projector.0.weight", "projector.0.bias", "projector.1.weight", "projector.1.bias",
    }  # fmt: skip


def test_matrices_decay_and_vectors_do_not() -> None:
    parts = {"projector": ModuleTraining(lr=1e-3, weight_decay=0.1)}
    groups = parameter_groups(trained_parameters(Network(), parts), parts)
    assert [(group.names, group.weight_decay) for group in groups] == [
        (("projector.0.weight",), 0.1),
        (("projector.0.bias", "projector.1.weight", "projector.1.bias"), 0.0),
    ]


def test_without_decay_a_part_is_one_group_and_each_part_has_its_own_rate() -> None:
    parts = {"vision_tower": ModuleTraining(lr=1e-5), "projector": ModuleTraining(lr=1e-3)}
    groups = parameter_groups(trained_parameters(Network(), parts), parts)
    assert [(group.part, group.lr, len(group.names)) for group in groups] == [
        ("vision_tower", 1e-5, 2),
        ("projector", 1e-3, 4),
    ]
    assert sum(len(group.names) for group in groups) == len({name for group in groups for name in group.names})


def test_a_stage_that_trains_nothing_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="trains nothing"):
        trained_parts(TrainSettings())
    assert list(trained_parts(TrainSettings(projector=ModuleTraining(lr=1.0)))) == ["projector"]
