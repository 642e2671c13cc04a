"""The demo's workspace before its first command: a data set to download, aurora.yaml, media to caption at the end."""

from pathlib import Path

import yaml

from aurora_cli.config.presets import preset_names
from aurora_cli.config.settings import DemoSettings, Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.constants import SETTINGS_FILE
from aurora_cli.errors import UsageError
from aurora_cli.io.atomic import atomic_directory, atomic_write, disk_errors, write_text
from aurora_cli.io.json_files import StoredModel, read_object

PRESET = "tiny"
MIRROR, TEST_MEDIA = "mirror", "held-out"
TRUTH_FILE = "truth.json"
"""In that folder: what is to be said of each."""
EXAMPLE_VIDEO = "clip.mp4"
PREPARED_FILE = "prepared.json"


class Prepared(StoredModel):
    """What was drawn; written last, so that a workspace that has it is complete."""

    WHAT = "the demo's note of what it drew"
    SCHEMA = 2

    images: int
    videos: int
    held_out: int
    """Images to caption at the end, and as many videos."""


def prepare(settings: Settings, reporter: Reporter) -> None:
    """Make what is not there yet.

    Raises:
        UsageError: the workspace holds something else, or was prepared with other numbers or by an earlier version.
    """
    workspace, demo = Workspace(settings.workspace), settings.demo
    wanted = Prepared(images=demo.images, videos=demo.videos, held_out=demo.held_out)
    if (workspace.root / PREPARED_FILE).exists():
        check_prepared(workspace.root, wanted)
        reporter.info(f"{workspace.root} is prepared already")
        return
    if (workspace.root / SETTINGS_FILE).exists() and not (workspace.root / MIRROR).exists():
        raise UsageError(
            f"{workspace.root} is somebody's workspace: it has an {SETTINGS_FILE} that is not the demo's",
            hint="Name another --workspace.",
        )
    reporter.info(f"drawing {demo.images:,} images and {demo.videos:,} videos into {workspace.root}")
    with disk_errors(workspace.root):
        _draw(workspace.root, demo)
        write_text(workspace.root / SETTINGS_FILE, _settings_text())
        wanted.write(workspace.root / PREPARED_FILE)


def check_prepared(root: Path, wanted: Prepared) -> None:
    """
    Raises:
        UsageError: the demo was prepared there by aurora 0.1.0, or with other numbers.
    """
    path = root / PREPARED_FILE
    content = read_object(path)
    if "pictures" in content:  # its folders are called otherwise, too
        raise UsageError(
            f"{root} was prepared by an earlier version of aurora, whose folders have other names",
            hint="Name another --workspace; the other commands work in this one as before.",
        )
    found = Prepared.parse(content, path)
    if found != wanted:
        raise UsageError(
            f"{root} was prepared with {_numbers(found)}; the settings are {_numbers(wanted)}",
            hint="Name another --workspace, or remove this one.",
        )


def _draw(root: Path, demo: DemoSettings) -> None:
    from aurora_cli.demo.dataset import write_mirror
    from aurora_cli.demo.truth import write_test_media

    if not (root / MIRROR).exists():
        with atomic_directory(root / MIRROR) as folder:
            write_mirror(folder, images=demo.images, videos=demo.videos)
    with atomic_directory(root / TEST_MEDIA) as folder:
        write_test_media(folder, demo.held_out)
    with atomic_write(root / EXAMPLE_VIDEO) as file:
        file.write((root / TEST_MEDIA / "videos" / "0000.mp4").read_bytes())


def _numbers(prepared: Prepared) -> str:
    return ", ".join(f"{name} {value}" for name, value in prepared.model_dump().items())


def _settings_text() -> str:
    assert PRESET in preset_names()
    settings = {"preset": PRESET, "download": {"repo": MIRROR}}
    return "# The demo's settings: the tiny preset, and a data set that was drawn here.\n" + yaml.safe_dump(settings)
