"""`aurora demo`: draws a small data set, then runs the commands of the pipeline on it as a person would.

Every command continues what a former run left, so the demo keeps no state of its own: after a kill the same commands
are run again, and those that were done say so.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from aurora_cli.config.presets import preset_names
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.constants import SETTINGS_FILE, STAGES
from aurora_cli.demo.drawing import IMAGE_ATTRIBUTES, VIDEO_ATTRIBUTES
from aurora_cli.errors import EXIT_INTERRUPTED, AuroraError, Interrupted, UsageError
from aurora_cli.io.atomic import atomic_directory, atomic_write, disk_errors, read_json, remove, write_json, write_text
from aurora_cli.pipeline.result import Result

PRESET = "tiny"
MIRROR, HELD_OUT, REPORT = "mirror", "held-out", "demo"
EXAMPLE_VIDEO = "clip.mp4"
PREPARED_FILE = "prepared.json"

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
BLANK = f"{REPORT}/blank.jsonl"
SHOWN_LINES = 12
"""Of what a command prints; `merge-shards` and `caption` print more than a person reads here."""

PR_SET_PDEATHSIG = 1


class StepFailed(AuroraError):
    """A command of the demo ended with an error, which it has told; its exit code is the demo's."""

    def __init__(self, message: str, exit_code: int, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Step:
    command: str
    seconds: float


@dataclass(frozen=True)
class DemoResult(Result):
    workspace: str
    steps: list[Step] = field(default_factory=list)
    images: dict[str, float] = field(default_factory=dict)
    """Attribute -> share of right words."""
    videos: dict[str, float] = field(default_factory=dict)
    blank_images: dict[str, float] = field(default_factory=dict)
    blank_videos: dict[str, float] = field(default_factory=dict)
    contact_sheet: str | None = None
    loss_plot: str | None = None
    shown: list[str] = field(default_factory=list)
    """The tables, as lines."""

    def lines(self) -> list[str]:
        return self.shown


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> DemoResult:
    """Prepare the workspace, run the pipeline, caption what was held out, and measure.

    Raises:
        UsageError: the workspace holds something else, or was prepared with other numbers.
        StepFailed: a command failed.
    """
    workspace = Workspace(settings.workspace)
    commands = [*PIPELINE, _caption_held_out(), _caption_blank()]
    if dry_run:
        planned = [f"Would draw {settings.demo.images:,} images and {settings.demo.videos:,} videos into"]
        planned += [f"{workspace.root}, then run there:", *(f"  aurora {' '.join(command)}" for command in commands)]
        return DemoResult(str(workspace.root), shown=planned)
    prepare(settings, reporter)
    if settings.demo.prepare_only:
        return DemoResult(
            str(workspace.root),
            shown=[
                f"{workspace.root} is prepared: a data set to download, {SETTINGS_FILE}, held-out images and videos.",
                f"Next: cd {workspace.root} && aurora download",
            ],
        )
    for captions in (CAPTIONS, BLANK):  # `caption` keeps what it finds; the demo shows it at work every time
        remove(workspace.root / captions)
    steps = [_call(workspace.root, command, reporter) for command in commands]
    return _report(workspace, steps)


def prepare(settings: Settings, reporter: Reporter) -> None:
    """Draw the mirror and the held-out media, and write aurora.yaml; what is there already stays as it is."""
    from aurora_cli.demo.dataset import write_held_out, write_mirror

    workspace, demo = Workspace(settings.workspace), settings.demo
    prepared = workspace.root / PREPARED_FILE
    numbers = {"images": demo.images, "videos": demo.videos, "held_out": demo.held_out}
    if prepared.exists():
        if read_json(prepared) != numbers:
            raise UsageError(
                f"{workspace.root} was prepared with {read_json(prepared)}, now asked for is {numbers}",
                hint="Name another --workspace, or remove this one.",
            )
        reporter.info(f"{workspace.root} is prepared already")
        return
    if (workspace.root / SETTINGS_FILE).exists() and not (workspace.root / MIRROR).exists():
        raise UsageError(
            f"{workspace.root} is somebody's workspace: it has an {SETTINGS_FILE} that is not the demo's",
            hint="Name another --workspace.",
        )
    reporter.info(f"drawing {demo.images:,} images and {demo.videos:,} videos into {workspace.root}")
    with disk_errors(workspace.root):
        if not (workspace.root / MIRROR).exists():
            with atomic_directory(workspace.root / MIRROR) as folder:
                write_mirror(folder, images=demo.images, videos=demo.videos)
        with atomic_directory(workspace.root / HELD_OUT) as folder:
            write_held_out(folder, demo.held_out)
        with atomic_write(workspace.root / EXAMPLE_VIDEO) as file:
            file.write((workspace.root / HELD_OUT / "videos" / "0000.mp4").read_bytes())
        write_text(workspace.root / SETTINGS_FILE, _settings_text())
        write_json(prepared, numbers)


def _settings_text() -> str:
    assert PRESET in preset_names()
    settings = {"preset": PRESET, "download": {"repo": MIRROR}}
    return "# The demo's settings: the tiny preset, and a data set that was drawn here.\n" + yaml.safe_dump(settings)


def _caption_held_out() -> tuple[str, ...]:
    return ("caption", f"{HELD_OUT}/images", f"{HELD_OUT}/videos", "--output", CAPTIONS)


def _caption_blank() -> tuple[str, ...]:
    return ("caption", f"{HELD_OUT}/blank/image.png", f"{HELD_OUT}/blank/clip.mp4", "--output", BLANK)


def _call(folder: Path, command: Sequence[str], reporter: Reporter) -> Step:
    """Run one command in the workspace; what it prints goes to the log."""
    words = f"aurora {' '.join(command)}"
    reporter.info(f"\n$ {words}")
    began = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name != "AURORA_WORKSPACE"}
    child = subprocess.Popen(
        [sys.executable, "-m", "aurora_cli", *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_die_with_parent,
    )
    assert child.stdout is not None
    try:
        lines = 0
        for lines, line in enumerate(child.stdout, 1):
            if lines <= SHOWN_LINES:
                reporter.info(line.rstrip("\n"))
        if lines > SHOWN_LINES:
            reporter.info(f"... and {lines - SHOWN_LINES} lines more")
        code = child.wait()
    except BaseException:
        child.send_signal(signal.SIGINT)
        child.wait()
        raise
    seconds = time.monotonic() - began
    if code == EXIT_INTERRUPTED:
        raise Interrupted(f"`{words}` was interrupted; the work so far is safe", hint="aurora demo continues.")
    if code:
        raise StepFailed(
            f"`{words}` ended with exit {code}",
            code if code > 0 else 128 - code,
            hint=f"Its message is above; its workspace is {folder}.",
        )
    reporter.info(f"({seconds:.1f} s)")
    return Step(words, round(seconds, 2))


def _die_with_parent() -> None:
    """A killed demo takes its command with it: the next run must not meet it still at work."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _report(workspace: Workspace, steps: list[Step]) -> DemoResult:
    from aurora_cli.demo import report

    folder = workspace.root / HELD_OUT
    images, videos = report.split_truth(folder)
    captions = {
        str(Path(k).relative_to(HELD_OUT)): v for k, v in report.read_captions(workspace.root / CAPTIONS).items()
    }
    blank = report.read_captions(workspace.root / BLANK)
    of_images = report.accuracy(images, captions, blank[f"{HELD_OUT}/blank/image.png"], IMAGE_ATTRIBUTES)
    of_videos = report.accuracy(videos, captions, blank[f"{HELD_OUT}/blank/clip.mp4"], VIDEO_ATTRIBUTES)
    sheet, plot = workspace.root / REPORT / "captions.png", workspace.root / REPORT / "loss.png"
    report.contact_sheet(sheet, folder, [*images, *videos], captions)
    report.loss_plot(plot, {stage: workspace.run(stage) for stage in STAGES})
    seconds = sum(step.seconds for step in steps)
    go_there = "" if workspace.root.resolve() == Path.cwd() else f"cd {workspace.root} && "
    shown = [
        f"{'held out':<24} {'caption':<42} truth",
        *report.examples(images, captions),
        *report.examples(videos, captions),
        "",
        *report.table(of_images, of_videos),
        "",
        f"captions  {sheet}",
        f"loss      {plot}",
        f"{len(steps)} commands in {seconds:.0f} s. Now: {go_there}aurora caption {EXAMPLE_VIDEO}",
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
        shown,
    )
