"""`aurora caption`: what a captioner says about images and videos."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurora_cli.captioning.captioner import Captioner, asked_of, load_captioner, made_by
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter, unheard
from aurora_cli.data.media.listing import Medium, list_media
from aurora_cli.data.media.remote import fetch
from aurora_cli.errors import EXIT_DATA, EXIT_OK, DataError, UsageError
from aurora_cli.io.atomic import write_json
from aurora_cli.pipeline.caption.output import CaptionLines, check_output
from aurora_cli.pipeline.result import Result
from aurora_cli.runs.find import find_model


@dataclass(frozen=True)
class CaptionResult(Result):
    """Captions in the order of the media."""

    model: str
    captions: tuple[dict[str, Any], ...] = ()
    """media, kind, caption, frames, visual_tokens, prompt_tokens, new_tokens, seconds."""
    rejected: tuple[dict[str, str], ...] = ()
    """media, reason."""
    reused: int = 0
    """Captions that the output held already."""
    output: str | None = None
    dry_run: bool = False
    media: int = 0
    streamed: bool = False
    """The captions were shown as they came."""

    def lines(self) -> list[str]:
        if self.dry_run:
            media = "1 image or video" if self.media == 1 else f"{self.media:,} images and videos"
            return [f"Would caption {media} with {self.model}"]
        said = [] if self.streamed else [f"{line['media']}: {line['caption']}" for line in self.captions]
        if self.reused:
            said.append(f"{self.reused:,} of them were captioned before")
        said += [f"{line['media']}: NOT CAPTIONED: {line['reason']}" for line in self.rejected]
        return [*said, f"{self.output}"] if self.output else said

    @property
    def exit_code(self) -> int:
        return EXIT_DATA if self.rejected else EXIT_OK


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> Result:
    """Caption everything that can be read; the rest is listed, and makes the exit code 3. `serve`: open a page for it.

    Raises:
        UsageError: no media, a URL that was not allowed, or a folder without any.
        DataError: there is no model, or it is damaged.
    """
    caption = settings.caption
    if caption.serve:
        from aurora_cli.pipeline.caption.server import serve

        return serve(settings, reporter, dry_run=dry_run)
    from aurora_cli.checkpoints.locate import check_name

    workspace = Workspace(settings.workspace)
    if not caption.media:
        raise UsageError("no media are named", hint="aurora caption image.jpg clip.mp4 folder/")
    media = list_media(caption.media, workspace.root, allow_remote=caption.allow_remote)
    name = caption.model or str(find_model(workspace, reporter))
    check_name(name, workspace.root)
    output = None if caption.output is None else workspace.path(caption.output)
    if output is not None:
        check_output(output)
    if dry_run:
        return CaptionResult(name, dry_run=True, media=len(media))

    from aurora_cli.checkpoints.checkpoint import Origin
    from aurora_cli.checkpoints.opening import open_checkpoint

    checkpoint = open_checkpoint(name, Origin(workspace.root, None, settings.model))
    asked = asked_of(settings, checkpoint)
    lines = None if output is None else CaptionLines(output, made_by(checkpoint, asked))
    if lines is not None and lines.replaced:
        reporter.info(f"{output}: {lines.replaced:,} captions by another model or other settings are made anew")
    done = {} if lines is None else lines.done
    todo = [medium for medium in media if medium.name not in done]
    captions = {medium.name: done[medium.name] for medium in media if medium.name in done}
    rejected: list[dict[str, str]] = []
    if reporter.streams:
        for line in captions.values():
            reporter.stream(f"{line['media']}: {line['caption']}\n")
    if todo:
        if lines is not None:
            lines.add(())  # shows before the work, not after it, whether the file can be written
        captioner = load_captioner(settings, checkpoint, asked)
        for made, bad in _in_batches(captioner, todo, settings, reporter):
            rejected += bad
            if lines is not None:
                lines.add({**line, "made_by": lines.made_by} for line in made)
            captions |= {line["media"]: line for line in made}
    if lines is not None and output is not None:
        lines.reject(rejected)
        write_json(output.with_name(f"{output.name}.settings.json"), {"model": name, **asked.as_json()})
    return CaptionResult(
        name,
        tuple(captions[medium.name] for medium in media if medium.name in captions),
        tuple(rejected),
        len(media) - len(todo),
        None if output is None else str(output),
        media=len(media),
        streamed=reporter.streams,
    )


def _in_batches(
    captioner: Captioner, todo: Sequence[Medium], settings: Settings, reporter: Reporter
) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, str]]]]:
    """Lines and rejects, a batch at a time, shown as they come where somebody looks on."""
    caption = settings.caption
    alone = reporter.streams and (len(todo) == 1 or caption.batch_size == 1)
    bar = contextlib.nullcontext(unheard) if alone else reporter.progress("captioning", len(todo), "media")
    fetches = any(medium.is_remote for medium in todo)
    place = tempfile.TemporaryDirectory(prefix="aurora-") if fetches else contextlib.nullcontext("")
    with bar as advance, place as folder:
        for start in range(0, len(todo), caption.batch_size):
            batch = todo[start : start + caption.batch_size]
            local, bad = _here(batch, Path(folder), int(caption.max_remote_mb * 1e6))
            if alone:
                reporter.stream(f"{batch[0].name}: ")
            made, unreadable = captioner.caption(local, say=reporter.stream if alone else None)
            paths = {medium.name: medium.path for medium in local}
            bad += [_without_name(line, paths[line["media"]]) for line in unreadable]
            if alone:
                reporter.stream("\n" if made and caption.num_beams == 1 else f"{_caption(made)}\n")
            elif reporter.streams:
                for line in made:
                    reporter.stream(f"{line['media']}: {line['caption']}\n")
            for line in bad:
                reporter.warning(f"{line['media']}: skipped: {line['reason']}")
            yield made, bad
            advance(len(batch))


def _caption(made: list[dict[str, Any]]) -> str:
    return made[0]["caption"] if made else "-"


def _without_name(line: dict[str, str], path: Path) -> dict[str, str]:
    """The line with a reason that does not begin with the name that stands beside it."""
    return line | {"reason": line["reason"].removeprefix(f"{path}: ").removeprefix(f"{line['media']}: ")}


def _here(media: Sequence[Medium], folder: Path, max_bytes: int) -> tuple[list[Medium], list[dict[str, str]]]:
    """The media as files of this machine, and the reasons of those that could not be fetched."""
    local: list[Medium] = []
    bad: list[dict[str, str]] = []
    for medium in media:
        try:
            local.append(fetch(medium, folder, max_bytes) if medium.is_remote else medium)
        except DataError as error:
            bad.append(_without_name({"media": medium.name, "reason": error.message}, medium.path))
    return local, bad
