"""A callback is a module in a folder: it is found, gets its options, and is called by a run."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aurora_cli.errors import UsageError
from aurora_cli.pipeline.train import callbacks, run_callbacks
from aurora_cli.pipeline.train import command as train
from tests.distributed.tiny_workspace import make, settings

ADDED = '''
from aurora_cli.config.section import Section
from aurora_cli.pipeline.train.run_callbacks import RunCallback
from aurora_cli.training.callbacks.callback import Callback
from aurora_cli.runs.layout import METRICS_FILE
from aurora_cli.runs.lines import MetricsLine, read_lines


class Options(Section):
    name: str
    """Of the file."""
    every: int = 1
    """Steps."""


class Counter(Callback):
    def __init__(self, run, options):
        self.file = run.plan.run_dir / options.name
        self.every = options.every
        earlier = [line.step for line in read_lines(run.plan.run_dir / METRICS_FILE, MetricsLine)]
        self.file.write_text(f"after {run.step} of {earlier}:")

    def on_step_end(self, engine, line):
        if line.step % self.every == 0:
            self.file.write_text(f"{self.file.read_text()} {line.step}")


CALLBACK = RunCallback(Counter, Options)
'''
OPTIONS = {"name": "steps.txt", "every": 2}


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a callback that lies with those of the package."""
    folder = tmp_path / "added"
    folder.mkdir()
    (folder / "counter.py").write_text(ADDED)
    monkeypatch.setattr(callbacks, "__path__", [*callbacks.__path__, str(folder)])
    yield "counter"
    sys.modules.pop(f"{callbacks.__name__}.counter", None)


def test_callbacks_are_found_by_their_files() -> None:
    found = {name: kind.on_every_rank for name, kind in run_callbacks._found()}
    assert {name: found[name] for name in ("captions", "checkpoint_copies", "report_page", "trackers")} == {
        "captions": True,
        "checkpoint_copies": False,
        "report_page": False,
        "trackers": False,
    }


def test_options_are_read_where_they_are_given(added: str) -> None:
    assert added in run_callbacks.with_options()
    assert "report_page" not in run_callbacks.with_options()
    assert run_callbacks.options_in({added: OPTIONS})[added].model_dump() == OPTIONS
    assert run_callbacks.options_in({added: None}) == {}, "null: it does not run"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"countr": {}}, r"train\.callbacks\.countr: there is no such callback.*\bcounter"),
        ({"report_page": {}}, r"train\.callbacks\.report_page: .*takes no options"),
        ({"counter": {}}, r"train\.callbacks\.counter\.name: .* is not allowed: Field required"),
        ({"counter": {**OPTIONS, "every": "x"}}, r"train\.callbacks\.counter\.every: 'x' is not allowed"),
        ({"counter": {**OPTIONS, "ever": 3}}, r"train\.callbacks\.counter\.ever: 3 is not allowed"),
        ({"counter": 3}, r"train\.callbacks\.counter: 3 is not allowed"),
    ],
)
@pytest.mark.usefixtures("added")
def test_what_is_wrong_is_said_before_anything_is_touched(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        train.run(settings(tmp_path / "workspace", "language", after=None, callbacks=given), dry_run=True)
    assert not (tmp_path / "workspace").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_run_has_it_where_it_is_named_and_goes_on_with_other_options(tmp_path: Path, added: str) -> None:
    root = tmp_path / "workspace"
    make(root, images=12, videos=4, texts=4)
    run_dir = root / "runs" / "language"
    train.run(settings(root, "language", after=None, max_steps=1))
    assert not (run_dir / "steps.txt").exists()
    train.run(settings(root, "language", after=None, max_steps=4, callbacks={added: OPTIONS}))
    assert (run_dir / "steps.txt").read_text() == "after 1 of [1]: 2 4"
    steps = [json.loads(line)["step"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]
    train.run(settings(root, "language", after=None, max_steps=5, callbacks={added: {**OPTIONS, "every": 5}}))
    assert (run_dir / "steps.txt").read_text() == "after 4 of [1, 2, 3, 4]: 5"
