"""`aurora demo`: draws a small data set, then runs the commands of the pipeline on it as a person would.

Every command continues what a former run left, so the demo keeps no state of its own: after a kill the same commands
are run again, and those that were done report it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.constants import SETTINGS_FILE, STAGES
from aurora_cli.demo.child import Step, run_command
from aurora_cli.demo.drawing import IMAGE_ATTRIBUTES, VIDEO_ATTRIBUTES
from aurora_cli.demo.workspace import EXAMPLE_VIDEO, TEST_MEDIA, TRUTH_FILE, prepare
from aurora_cli.io.atomic import remove
from aurora_cli.pipeline.result import Result

REPORT = "demo"

PIPELINE: tuple[tuple[str, ...], ...] = (
    ("download",),
    ("merge-tars",),
    ("extract",),
    ("tokenize", "--batch-size", "100000"),
    ("merge-shards",),
    *(("train", "--stage", stage) for stage in STAGES),
    *(("convert", "--format", layout) for layout in ("huggingface", "xtuner", "official")),
)
CAPTIONS = f"{REPORT}/captions.jsonl"
BLANK_IMAGE, BLANK_VIDEO = (f"{TEST_MEDIA}/blank/{name}" for name in ("image.png", "clip.mp4"))
"""Captioned beside the test media, to show that the answers come from the pixels."""
RATIOS = (1, 0.5, 0.25)
"""Of the curve that the demo ends with: those that the tiny preset trains at."""
CAPTION = ("caption", *(f"{TEST_MEDIA}/{kind}" for kind in ("images", "videos", "blank")), "--output", CAPTIONS)
EXPORT = "huggingface"
EVALUATE = (
    *("evaluate", "--model", f"export/{EXPORT}", "--references", f"{TEST_MEDIA}/{TRUTH_FILE}"),
    *("--metric", "cider", "--metric", "bleu_4"),
    *(word for ratio in RATIOS for word in ("--token-kept-ratio", str(ratio))),
)
"""What the one captioner is worth, and takes, at each number of visual tokens."""


@dataclass(frozen=True)
class DemoResult(Result):
    """What was run, and how right the captions are."""

    workspace: str
    steps: list[Step] = field(default_factory=list)
    images: dict[str, float] = field(default_factory=dict)
    """Attribute -> share of right words."""
    videos: dict[str, float] = field(default_factory=dict)
    blank_images: dict[str, float] = field(default_factory=dict)
    blank_videos: dict[str, float] = field(default_factory=dict)
    contact_sheet: str | None = None
    loss_plot: str | None = None
    evaluation: str | None = None
    """The page that has the curve of quality by visual tokens."""
    shown: list[str] = field(default_factory=list)
    """The tables, as lines."""

    def lines(self) -> list[str]:
        return self.shown


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> DemoResult:
    """Prepare the workspace, run the pipeline, caption the test media, and measure.

    Raises:
        UsageError: the workspace holds something else, or was prepared with other numbers or by an earlier version.
        StepFailed: a command failed.
    """
    workspace = Workspace(settings.workspace)
    commands: Sequence[Sequence[str]] = [*PIPELINE, CAPTION, EVALUATE]
    if dry_run:
        planned = [f"Would draw {settings.demo.images:,} images and {settings.demo.videos:,} videos into"]
        planned += [f"{workspace.root}, then run there:", *(f"  aurora {' '.join(command)}" for command in commands)]
        return DemoResult(str(workspace.root), shown=planned)
    prepare(settings, reporter)
    if settings.demo.prepare_only:
        return DemoResult(
            str(workspace.root),
            shown=[
                f"{workspace.root} is prepared: a data set to download, {SETTINGS_FILE}, images and videos to caption.",
                f"Next: cd {workspace.root} && aurora download",
            ],
        )
    remove(workspace.root / CAPTIONS)  # `caption` keeps what it finds; the demo shows it at work every time
    steps = [run_command(workspace.root, command, reporter) for command in commands]
    return _report(workspace, steps)


def _report(workspace: Workspace, steps: list[Step]) -> DemoResult:
    from aurora_cli.demo import report
    from aurora_cli.demo.truth import read_truth
    from aurora_cli.evaluation.stored import FILE, PAGE_FILE, Evaluation
    from aurora_cli.pipeline.evaluate.curve_table import curve_table

    folder = workspace.root / TEST_MEDIA
    images, videos = read_truth(folder)
    named = report.read_captions(workspace.root / CAPTIONS)
    captions = {str(Path(media).relative_to(TEST_MEDIA)): caption for media, caption in named.items()}
    of_images = report.accuracy(images, captions, named[BLANK_IMAGE], IMAGE_ATTRIBUTES)
    of_videos = report.accuracy(videos, captions, named[BLANK_VIDEO], VIDEO_ATTRIBUTES)
    sheet, plot = workspace.root / REPORT / "captions.png", workspace.root / REPORT / "loss.png"
    report.contact_sheet(sheet, folder, [*images, *videos], captions)
    page = workspace.root / "evaluation" / EXPORT / PAGE_FILE
    evaluation = Evaluation.read(page.with_name(FILE))
    report.loss_plot(plot, {stage: workspace.run(stage) for stage in STAGES})
    seconds = sum(step.seconds for step in steps)
    go_there = "" if workspace.root.resolve() == Path.cwd() else f"cd {workspace.root} && "
    shown = [
        f"{'test media':<24} {'caption':<42} truth",
        *report.examples(images, captions),
        *report.examples(videos, captions),
        "",
        *report.table(of_images, of_videos),
        "",
        "one model at each number of visual tokens",
        *curve_table(evaluation.curve or ()),
        "",
        f"captions  {sheet}",
        f"loss      {plot}",
        f"curve     {page}",
        f"{len(steps)} commands in {seconds:.0f} s. Now: {go_there}aurora caption {EXAMPLE_VIDEO} --token-kept-ratio"
        f" {RATIOS[-1]}",
    ]
    return DemoResult(
        str(workspace.root),
        steps,
        of_images.right,
        of_videos.right,
        of_images.blank,
        of_videos.blank,
        str(sheet),
        str(plot),
        str(page),
        shown,
    )
