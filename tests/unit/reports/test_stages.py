"""The page of all runs: what it says of each, what differs between them, and that old runs and begun ones are in it."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.cli.app import run
from aurora_cli.reports.charts import RIGHT
from aurora_cli.reports.stages import BROAD, UNSET, Difference, StagesReport, differences, runs_in
from aurora_cli.runs.lines import append_lines, cut_back
from aurora_cli.runs.metadata import TrainState
from tests.browser import dom, needs_browser, screenshot
from tests.run_files import metadata, metrics_line

OLD = Path(__file__).parents[2] / "fixtures/workspace-0.1.0"


def make_run(root: Path, name: str, done: int, steps: int, settings: str, start: str = "random weights") -> Path:
    run = root / "runs" / name
    step = run / f"checkpoints/step-{done:08d}"
    (step / "resume").mkdir(parents=True)
    append_lines(
        run / "metrics.jsonl",
        [
            metrics_line(n, loss=4.0 / n, step_s=60.0, validation_loss=3.0 / n if n % 5 == 0 else None)
            for n in range(1, done + 1)
        ],
    )
    metadata(name, steps).model_copy(update={"base": start}).write(step / "checkpoint.json")
    TrainState(recipe={}, order_hash="f00").write(step / "resume/state.json")
    (run / "config.yaml").write_text(settings)
    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_run(tmp_path, "vision", 5, 40, "train: {stage: vision, seed: 7, epochs: 2.0}\n", "runs/projection")
    make_run(tmp_path, "projection", 20, 20, "train: {stage: projection, seed: 0, epochs: 2.0}\n")
    return tmp_path


class Table(HTMLParser):
    """Rows of cells of every table, links and their targets."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True
        if tag == "a":
            self.links.append(given.get("href") or "")
        if "id" in given:
            self.ids.append(given["id"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data.strip()


def test_each_run_has_a_row_in_the_order_of_the_stages_and_a_section(root: Path) -> None:
    """20 steps of 100 tokens and a minute each; the fifth and each fifth after are measured."""
    page = Table(StagesReport(root / "runs", root).page())
    first = "projection|finished|20 of 20|4.0000 → 0.2000|0.1500 at 20|2,000|2|20 min|random weights"
    second = "vision|not finished|5 of 40|4.0000 → 0.8000|0.6000 at 5|500|2|5 min|runs/projection"
    assert page.rows[1:3] == [first.split("|"), second.split("|")]
    assert ["train.seed", "0", "7"] in page.rows
    assert not any(row[:1] in (["train.epochs"], ["train.stage"]) for row in page.rows)
    assert {link.removeprefix("#") for link in page.links} == set(page.ids)
    assert len(page.ids) == len(set(page.ids)) == 2


def test_a_run_that_was_resumed_is_shown_as_it_went_on(root: Path) -> None:
    report = StagesReport(root / "runs", root)
    report.page()
    path = root / "runs/projection/metrics.jsonl"
    cut_back(path, 10)
    append_lines(path, [metrics_line(step, loss=0.125) for step in range(11, 16)])
    assert "4.0000 → 0.1250" in report.page()


def test_the_losses_stand_one_after_another(root: Path) -> None:
    """20 steps, then 5, from the left edge of the plot to the right: 19 of 24 parts of the width are the first's."""
    page = StagesReport(root / "runs", root).page()
    chart = page[page.index("Loss of all runs") :]
    chart = chart[: chart.index("</svg>")]
    curves = [curve.split('"')[0] for curve in chart.split(' d="')[1:]]
    ends = [[float(point.split(",")[0]) for point in curve[1:].replace("M", "L").split("L")] for curve in curves]
    left, right = ends[0][0], BROAD - RIGHT
    assert ends[0][-1] == pytest.approx(left + (right - left) * 19 / 24, abs=0.1)
    assert ends[1][0] == pytest.approx(left + (right - left) * 20 / 24, abs=0.1)
    assert ends[1][-1] == right
    assert ">validation<" in chart


def test_an_old_workspaces_run_is_in_it_too(root: Path) -> None:
    shutil.copytree(OLD / "runs/language", root / "runs/language")
    page = StagesReport(root / "runs", root).page()
    assert [run.name for run in runs_in(root / "runs")] == ["projection", "vision", "language"]
    assert Table(page).rows[3][:3] == ["language", "finished", "3 of 3"]
    assert "A blue circle at the top right." in page


def test_of_a_run_that_has_just_begun_and_of_none_there_is_a_page(root: Path) -> None:
    (root / "runs/language").mkdir()
    (root / "runs/language/config.yaml").write_text("")
    row = Table(StagesReport(root / "runs", root).page()).rows[3]
    assert row == ["language", "not finished", "0 of 0", UNSET, UNSET, "0", "0", "0 s", UNSET]
    assert "no runs" in StagesReport(root / "nowhere", root).page()


def test_a_setting_that_one_run_does_not_have_is_at_its_default_and_one_without_a_default_differs() -> None:
    configs = [
        {"train": {"seed": 1, "epochs": 1.0, "unheard_of": None, "live": True}},
        {"train": {}},
        {"other": {"x": 1}},
    ]
    assert differences(configs) == [
        Difference("train.seed", ["1", "0", "0"]),
        Difference("train.unheard_of", ["none", UNSET, UNSET]),
    ]


VALUES = st.none() | st.booleans() | st.integers() | st.text()


@pytest.mark.slow
@given(
    st.lists(
        st.fixed_dictionaries(
            {"train": st.dictionaries(st.text(min_size=1), VALUES | st.dictionaries(st.text(), VALUES))}
        ),
        max_size=4,
    )
)
def test_equal_settings_never_differ(configs: list) -> None:
    assert differences([config for config in configs for _ in range(1)] if len(configs) < 2 else [configs[0]] * 3) == []
    for difference in differences(configs):
        assert len(set(difference.values)) > 1
        assert len(difference.values) == len(configs)


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize(("size", "dark"), [("1280,2600", False), ("1280,2600", True), ("390,3000", False)])
def test_a_browser_shows_it_and_complains_of_nothing(root: Path, tmp_path: Path, size: str, dark: bool) -> None:
    target = root / "runs/report.html"
    StagesReport(root / "runs", root).write(target)
    assert dom(target, tmp_path / "profile").count("<svg") == 1 + 2 * 6
    name = f"stages-{size.split(',')[0]}{'-dark' * dark}.png"
    assert screenshot(target, name, tmp_path / "profile", size=size, dark=dark).stat().st_size > 20_000


def test_the_command_line_writes_it_and_prints_one_object(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "runs", "--html", "all.html", "--workspace", str(root), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["html"] == str(root / "all.html")
    assert [(one["stage"], one["steps"]) for one in said["runs"]] == [("projection", 20), ("vision", 5)]
    assert (root / "all.html").is_file()
