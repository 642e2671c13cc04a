"""Captioning as it is done: by this process, or by several of this machine that know nothing of one another."""

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from pydantic import BaseModel

from aurora_cli.captioning.job.merge_parts import merge_parts
from aurora_cli.captioning.job.parts import Part, PartReceipt
from aurora_cli.captioning.job.request import Captioned, CaptionRequest
from aurora_cli.captioning.result import Uncaptioned
from aurora_cli.config.resolve import dump_yaml, load_resolved
from aurora_cli.config.settings import Settings
from aurora_cli.config.share import ALL, Share, share_of
from aurora_cli.console import Reporter
from aurora_cli.errors import Interrupted, UsageError
from aurora_cli.imports import imported_at_once, in_own_process, without_compiler
from aurora_cli.io.locks import lock_output
from aurora_cli.pipeline.caption.on_ray import report_of
from aurora_cli.pipeline.caption.request import resolve_request
from aurora_cli.pipeline.caption.result import CaptionResult
from aurora_cli.pipeline.caption_parts import PartsResult, parts_result
from aurora_cli.training.processes.devices import gpu_count
from aurora_cli.training.processes.launcher import run_apart
from aurora_cli.training.processes.worker import serve


def caption_media(settings: Settings, request: CaptionRequest, reporter: Reporter) -> Captioned:
    """Caption what a request asks for, while no other process writes its output."""
    with contextlib.nullcontext() if request.output is None else lock_output(request.output, "aurora caption"):
        with imported_at_once(), without_compiler():
            from aurora_cli.captioning.job.session import CaptionSession, rows_of
            from aurora_cli.captioning.job.source import CaptionerSource

        source = CaptionerSource(settings, request.model, reporter)
        engine = None
        if settings.caption.engine == "ray":
            from aurora_cli.captioning.engines.ray_engine import RayEngine

            engine = RayEngine(settings, request.model, rows_of(request), reporter)
        return CaptionSession(source, request, settings.caption, reporter, engine).run()


def caption_request(settings: Settings, request: CaptionRequest, reporter: Reporter) -> CaptionResult:
    """The same, and of the parts of an output the output, if all of them are there."""
    captioned = caption_media(settings, request, reporter)
    return CaptionResult(
        request.model,
        captioned.captions,
        captioned.uncaptioned,
        captioned.reused,
        None if request.output is None else str(request.output),
        media=captioned.rows,
        listed_in=None if request.rows is None else request.rows.name,
        made=captioned.made,
        repeated=captioned.repeated,
        share=None if request.part is None else str(request.part.share),
        parts=None if request.part is None else merge(request.part),
    )


def merge(part: Part) -> PartsResult:
    """Make the output, if all of its parts are there and go together with this one."""
    state = merge_parts(part.output, part.share.count, PartReceipt.read(part.receipt))
    return parts_result(part.output, state)


class Report(BaseModel):
    """What one of several processes did."""

    made: int
    reused: int
    rows: int
    repeated: int
    rejected: tuple[Uncaptioned, ...]


def caption_in_processes(
    settings: Settings, share: Share | None, reporter: Reporter, *, dry_run: bool
) -> CaptionResult:
    """Start the processes, each with a share of the share, wait for all, and make one file of the parts.

    Raises:
        AuroraError: what the first process that failed said; the parts of the others are whole.
        HostError: one was killed.
        Interrupted: a signal stopped them.
    """
    count, outer = settings.caption.num_processes or 1, share or ALL
    if settings.caption.device_map is not None and gpu_count() > 1:
        raise UsageError(
            "--device-map: spreads a model over all GPUs, and with --num-processes each process has one of them",
            hint="Leave one of the two out.",
        )
    requests = [resolve_request(settings, reporter, outer.split(index, count)) for index in range(count)]
    model, part, rows = requests[0].model, requests[0].part, requests[0].rows
    assert part is not None, "processes make parts"
    if dry_run:
        media = sum(len(each.media) if each.rows is None else each.rows.count() for each in requests)
        return CaptionResult(model, dry_run=True, media=media, share=None if share is None else str(share))
    with tempfile.TemporaryDirectory(prefix="aurora-") as folder:
        config = Path(folder, "config.yaml")
        config.write_text(dump_yaml(settings), encoding="utf-8")
        command = [sys.executable, "-m", "aurora_cli.pipeline.caption", str(config), str(outer)]
        reporter.info(f"{count} processes, a share each; what is shown is share {part.share}")
        reports = [
            Report.model_validate_json(report)
            for report in run_apart(command, count, logs=Path(folder), reporter=reporter)
        ]
    return CaptionResult(
        model,
        (),
        tuple(rejected for report in reports for rejected in report.rejected),
        sum(report.reused for report in reports),
        media=sum(report.rows for report in reports),
        listed_in=None if rows is None else rows.name,
        made=sum(report.made for report in reports),
        repeated=sum(report.repeated for report in reports),
        share=None if share is None else str(share),
        processes=count,
        parts=merge(part),
    )


def main() -> None:
    """`python -m aurora_cli.pipeline.caption CONFIG SHARE`: one of the processes, with a share of that share.

    With `--engine ray` it is the one that drives Ray; without a SHARE for all media.
    """
    settings, outer = load_resolved(Path(sys.argv[1])), share_of(sys.argv[2] if len(sys.argv) > 2 else None)
    if settings.caption.engine == "ray":
        signal.signal(signal.SIGTERM, _interrupt)
        serve(lambda reporter: _caption_all(settings, None if outer is None else outer.share, reporter))
    assert outer is not None, "the share is given"
    in_own_process()
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    signal.signal(signal.SIGTERM, _interrupt)
    if settings.caption.device in ("auto", "cuda"):
        use_gpu(rank, gpu_count(), os.environ)
    serve(lambda reporter: _caption_share(settings, outer.share.split(rank, size), reporter))


def _caption_all(settings: Settings, share: Share | None, reporter: Reporter) -> str:
    with _interrupts():
        return report_of(caption_request(settings, resolve_request(settings, reporter, share), reporter))


def _caption_share(settings: Settings, share: Share, reporter: Reporter) -> str:
    with _interrupts():
        captioned = caption_media(settings, resolve_request(settings, reporter, share), reporter)
    return Report(
        made=captioned.made,
        reused=captioned.reused,
        rows=captioned.rows,
        repeated=captioned.repeated,
        rejected=captioned.uncaptioned,
    ).model_dump_json()


def use_gpu(process: int, gpus: int, environ: MutableMapping[str, str]) -> None:
    """Let this process see one of the GPUs that it could see, before torch looks. With more processes, some share one.

    >>> environ = {"CUDA_VISIBLE_DEVICES": "4,6"}
    >>> use_gpu(3, 2, environ)
    >>> environ
    {'CUDA_VISIBLE_DEVICES': '6'}
    """
    if gpus < 2:
        return
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(number) for number in range(gpus)] if visible is None else visible.split(",")
    environ["CUDA_VISIBLE_DEVICES"] = names[process % gpus].strip()


@contextlib.contextmanager
def _interrupts() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; the work so far is safe", hint="Run the same command again to continue."
        ) from None


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
