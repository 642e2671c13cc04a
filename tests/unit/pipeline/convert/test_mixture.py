"""A captioner for several kept ratios, from its run to its export, its card and its captions."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.console import Reporter
from aurora_cli.export.remote.model import AuroraCapForImageTextToText
from aurora_cli.pipeline.caption import command as caption
from aurora_cli.pipeline.convert.command import run
from tests.captioners import caption_settings, convert_settings, make_runs

RATIOS = (0.375, 0.5)
"""The runs' own ratio is 0.5."""


class Warnings(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    metadata = next(make_runs(tmp_path).glob("checkpoints/*/checkpoint.json"))
    content: dict[str, Any] = json.loads(metadata.read_text())
    metadata.write_text(json.dumps(content | {"trained_ratios": RATIOS}))
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    return tmp_path


@pytest.mark.parametrize("layout", ["huggingface", "xtuner"])
def test_an_export_says_at_which_ratios_it_was_trained_and_captions_at_each(workspace: Path, layout: str) -> None:
    result = run(convert_settings(workspace, format=layout, verify=False))
    export = Path(result.output)
    facts = json.loads((export / "aurora.json").read_text())
    assert (facts["merging"]["kept_ratio"], facts["trained_ratios"]) == (0.5, [*RATIOS])
    assert "| trained at kept ratios | 0.375, 0.5 |" in (export / "README.md").read_text()
    assert "visual tokens merge with kept ratio 0.375, 0.5," in "\n".join(result.lines())
    assert "right at kept ratio 0.375 to 0.5" in "\n".join(result.lines())
    opened = open_checkpoint(export)
    assert (opened.merging.kept_ratio, opened.trained_ratios) == (0.5, RATIOS)
    tokens: dict[float | None, int] = {}
    for ratio, warns in ((None, False), (0.375, False), (0.4375, False), (0.25, True), (1.0, True)):
        reporter = Warnings()
        changes = {} if ratio is None else {"token_kept_ratio": ratio}
        settings = caption_settings(
            workspace, str(workspace / "red.png"), model=str(export), max_new_tokens=2, **changes
        )
        (one,) = caption.run(settings, reporter).captions
        tokens[ratio] = one.visual_tokens
        assert (
            any("lies outside of those that the model was trained at (0.375, 0.5)" in said for said in reporter.said)
            == warns
        )
    assert tokens == {None: 8, 0.375: 6, 0.4375: 7, 0.25: 4, 1.0: 16}


def test_the_code_that_an_export_carries_warns_of_a_ratio_beyond_them(workspace: Path) -> None:
    export = Path(run(convert_settings(workspace, format="huggingface", verify=False)).output)
    assert json.loads((export / "config.json").read_text())["trained_ratios"] == [*RATIOS]
    with pytest.warns(UserWarning, match=r"kept ratio 0\.25 lies outside of those .* \(0\.375, 0\.5\)"):
        model = AuroraCapForImageTextToText.from_pretrained(export, token_kept_ratio=0.25)
    assert model.merging_with(0.4).kept_ratio == 0.4  # warnings are errors in tests
    with pytest.warns(UserWarning, match="kept ratio 1 lies outside"):
        model.generate(torch.tensor([[1, 5]]), token_kept_ratio=1.0, max_new_tokens=1)


def test_an_export_of_an_export_says_the_same_and_of_one_ratio_nothing(workspace: Path, tmp_path: Path) -> None:
    first = run(convert_settings(workspace, format="xtuner", verify=False))
    again = run(convert_settings(workspace, checkpoint=first.output, format="huggingface", verify=False))
    assert json.loads((Path(again.output) / "aurora.json").read_text())["trained_ratios"] == [*RATIOS]
    other = tmp_path / "other"
    make_runs(other)
    plain = run(convert_settings(other, format="huggingface", verify=False))
    assert "trained_ratios" not in json.loads((Path(plain.output) / "aurora.json").read_text())
    assert "trained at kept ratios" not in (Path(plain.output) / "README.md").read_text()
    assert "trained_ratios" not in json.loads((Path(plain.output) / "config.json").read_text())
