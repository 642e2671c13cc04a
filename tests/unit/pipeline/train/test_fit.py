"""`aurora train --plan --fit`: what is counted of a step, and which settings are found."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from aurora_cli.config.resolve import resolve
from aurora_cli.config.settings import Settings
from aurora_cli.errors import UsageError
from aurora_cli.pipeline.train import command as train
from aurora_cli.pipeline.train.estimate import fit, trace
from aurora_cli.pipeline.train.estimate.fit_result import FitResult
from aurora_cli.pipeline.train.estimate.network import config_of, frozen
from aurora_cli.pipeline.train.estimate.trace import Meter, MicroBatchSize, step_memory
from tests.distributed.tiny_workspace import MODEL, settings

SIZE = MicroBatchSize(packs=2, positions=60, merged=3, whole=0, targets=50)

pytestmark = pytest.mark.slow


def requested(root: Path, **changes: Any) -> Settings:
    return settings(root, "language", **{"after": None, "plan": True, **changes})


def measured(chosen: Settings, *, gradients_there: bool = False) -> trace.StepMemory:
    config = config_of(chosen)
    return step_memory(
        lambda: frozen(config, chosen, torch.float32), chosen, SIZE, None, gradients_there=gradients_there
    )


def test_what_is_held_is_counted_as_it_comes_and_goes() -> None:
    with Meter() as meter:
        first = torch.zeros(100)  # 400 bytes
        second = first + 1  # 800
        del first  # 400
        third = second[:50] * 2  # a view is none; 600
    assert (meter.live, meter.peaks["tower"].peak) == (600, 800)
    del second, third
    assert meter.live == 0


def test_layers_that_are_not_run_are_counted_as_those_that_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine layers one by one, and nine told from two and three of them: the same number of bytes."""
    chosen = requested(tmp_path)
    model = {**MODEL, "text_config": {**MODEL["text_config"], "num_hidden_layers": 9}}
    chosen = Settings.model_validate(chosen.model_dump(mode="json") | {"model": model})
    for checkpointing in (False, True):
        changed = chosen.model_copy(
            update={"train": chosen.train.model_copy(update={"gradient_checkpointing": checkpointing})}
        )
        for there in (False, True):
            told = measured(changed, gradients_there=there)
            monkeypatch.setattr(trace, "DEEP", 9)
            assert measured(changed, gradients_there=there) == told
            monkeypatch.undo()


def test_recomputation_takes_less_and_gradients_that_are_there_more(tmp_path: Path) -> None:
    plain = measured(requested(tmp_path))
    assert measured(requested(tmp_path, gradient_checkpointing=True)).peak < plain.peak
    assert measured(requested(tmp_path), gradients_there=True).peak > plain.peak >= plain.without_gradients


@pytest.fixture
def traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step takes depends on no limit: three searches through the same settings count it once."""
    known: dict[tuple[Any, ...], trace.StepMemory] = {}
    counted = fit.traced

    def traced(settings: Settings, config: Any, sizes: Any, precision: Any, processes: int, *, engine: bool) -> Any:
        train = settings.train
        what = (train.micro_batch_packs, train.gradient_checkpointing, train.lora.language_model, train.quantize_base)
        key = (*what, sizes, precision, processes, engine)
        if key not in known:
            known[key] = counted(settings, config, sizes, precision, processes, engine=engine)
        return known[key]

    monkeypatch.setattr(fit, "traced", traced)


@pytest.mark.usefixtures("traced_once")
def test_what_fits_is_listed_by_what_it_costs_and_the_first_is_written(tmp_path: Path) -> None:
    chosen = requested(tmp_path, fit="gpu:10KB", precision="bf16", micro_batch_packs=2, write="fits.yaml")
    result = train.run(chosen)
    assert isinstance(result, FitResult)
    assert (result.exit_code, result.options) == (4, ())
    assert result.least is not None
    assert not (tmp_path / "fits.yaml").exists()

    # nearly as much as the least takes, with a tenth of it free: only that
    tight = chosen.train.model_copy(update={"fit": f"gpu:{result.least.memory / 0.899 / 1e3:.0f}KB"})
    result = train.run(chosen.model_copy(update={"train": tight}))
    assert isinstance(result, FitResult)
    assert result.exit_code == 0
    assert [option.takes for option in result.options] == sorted(option.takes for option in result.options)
    assert all(option.memory <= result.room for option in result.options)
    read = resolve({"workspace": ("--workspace", tmp_path)}, config=tmp_path / "fits.yaml", environment={}).settings
    for path, value in result.options[0].settings.items():
        node: Any = read
        for name in path.split("."):
            node = getattr(node, name)
        assert node == value
    text = (tmp_path / "fits.yaml").read_text()
    assert yaml.safe_load(text)

    (tmp_path / "fits.yaml").write_text("train: {seed: 3}\n")
    with pytest.raises(UsageError, match="says something else"):
        train.run(chosen.model_copy(update={"train": tight}))


def test_with_enough_memory_nothing_changes(tmp_path: Path) -> None:
    result = train.run(requested(tmp_path, fit="64 GB", micro_batch_packs=2))
    assert isinstance(result, FitResult)
    assert [option.settings for option in result.options] == [{}]
    assert "as it is" in result.lines()[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"fit": "much"}, "'much' is not a size"), ({"fit": "24GB", "plan": False}, "this would be a run")],
)
def test_what_cannot_be_looked_for_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        train.run(requested(tmp_path, **changes))
