"""`aurora caption --engine ray`: a process that drives Ray, whose own output is not ours, and what it reports."""

import dataclasses
import sys
import tempfile
from pathlib import Path

from pydantic import TypeAdapter

from aurora_cli.captioning.engines.ray_setup import check_ray
from aurora_cli.config.resolve import dump_yaml
from aurora_cli.config.settings import Settings
from aurora_cli.config.share import Share
from aurora_cli.console import Reporter
from aurora_cli.pipeline.caption.result import CaptionResult
from aurora_cli.training.processes.launcher import run_workers

_RESULT = TypeAdapter(CaptionResult)


def caption_on_ray(settings: Settings, share: Share | None, reporter: Reporter) -> CaptionResult:
    """Start that process, and wait for it.

    Raises:
        AuroraError: what it said.
        HostError: Ray is not installed, or the process was killed.
        Interrupted: a signal stopped it.
    """
    check_ray(settings.caption)
    with tempfile.TemporaryDirectory(prefix="aurora-") as folder:
        config = Path(folder, "config.yaml")
        config.write_text(dump_yaml(settings), encoding="utf-8")
        command = [sys.executable, "-m", "aurora_cli.pipeline.caption", str(config)]
        if share is not None:
            command.append(str(share))
        return _RESULT.validate_json(run_workers(command, 1, logs=Path(folder), reporter=reporter))


def report_of(result: CaptionResult) -> str:
    """What the process reports: all but the captions, which are in the output."""
    return _RESULT.dump_json(dataclasses.replace(result, captions=(), on_ray=True)).decode()
