"""One run of `aurora caption`: what the output holds already, then the rest, a batch at a time."""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.inputs import CaptionInput
from aurora_cli.captioning.loading import build_captioner
from aurora_cli.captioning.options import CaptionOptions, options_of
from aurora_cli.captioning.result import CaptionedBatch, Uncaptioned
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint, OpenOptions
from aurora_cli.checkpoints.facts import file_stamps
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.config.settings import Settings
from aurora_cli.console import Reporter
from aurora_cli.data.media.listing import Medium
from aurora_cli.data.media.remote import fetch
from aurora_cli.errors import DataError
from aurora_cli.pipeline.caption.output import open_output
from aurora_cli.pipeline.caption.request import CaptionRequest
from aurora_cli.pipeline.caption.result import CaptionResult, line_of, start_of_line


class CaptionSession:
    """Captions the media of a request. The weights are read only if there is something to caption."""

    def __init__(self, settings: Settings, request: CaptionRequest, reporter: Reporter) -> None:
        """
        Raises:
            DataError: the model is damaged.
        """
        self._settings, self._request, self._reporter = settings, request, reporter
        self._checkpoint = open_checkpoint(request.model, OpenOptions(settings.workspace, None, settings.model))
        self._options = options_of(self._checkpoint, settings.caption, settings.tokenize, settings.data)
        self._output = open_output(request.output, fingerprint(self._checkpoint, self._options))

    def run(self) -> CaptionResult:
        """Caption what the output lacks. After each batch its captions are in the output."""
        media, reporter = self._request.media, self._reporter
        if self._output.replaced:
            reporter.info(
                f"{self._request.output}: {self._output.replaced:,} captions by another model or other settings are "
                "made anew"
            )
        captions = {medium.name: self._output.done[medium.name] for medium in media if medium.name in self._output.done}
        for caption in captions.values():
            reporter.stream_line(line_of(caption))
        todo = [medium for medium in media if medium.name not in captions]
        uncaptioned: list[Uncaptioned] = []
        for batch in self._batches(todo):
            self._output.add(batch.captions)
            captions |= {caption.media: caption for caption in batch.captions}
            uncaptioned += batch.uncaptioned
        self._output.close(uncaptioned, {"model": self._request.model, **self._options.to_json()})
        return CaptionResult(
            self._request.model,
            tuple(captions[medium.name] for medium in media if medium.name in captions),
            tuple(uncaptioned),
            len(media) - len(todo),
            None if self._request.output is None else str(self._request.output),
            media=len(media),
        )

    def _batches(self, todo: Sequence[Medium]) -> Iterator[CaptionedBatch]:
        if not todo:
            return
        self._output.add(())  # shows before the work, not after it, whether the file can be written
        captioner = self._load()
        for warning in captioner.check_positions((medium.kind for medium in todo), self._options):
            self._reporter.warning(warning)
        size = self._settings.caption.batch_size
        with self._reporter.progress("captioning", len(todo), "media") as advance, _folder_for_remote(todo) as folder:
            for start in range(0, len(todo), size):
                batch = self._caption(captioner, todo[start : start + size], folder)
                for each in batch.uncaptioned:
                    self._reporter.warning(f"{each.media}: skipped: {each.reason}")
                yield batch
                advance(len(batch.captions) + len(batch.uncaptioned))

    def _load(self) -> Captioner:
        settings, caption = self._settings, self._settings.caption
        return build_captioner(
            self._checkpoint,
            self._options,
            root=settings.workspace,
            fallback_tokenizer=settings.model.tokenizer,
            device=caption.device,
            device_map=caption.device_map,
        )

    def _caption(self, captioner: Captioner, media: Sequence[Medium], folder: Path) -> CaptionedBatch:
        """Caption one batch, shown as it comes: a single medium piece by piece, several line by line."""
        local, missing = fetch_remote(media, folder, int(self._settings.caption.max_remote_mb * 1e6))
        inputs = [CaptionInput(medium.name, medium.kind, medium.path) for medium in local]
        if len(inputs) == 1:
            with self._reporter.stream_pieces(start_of_line(inputs[0].name)) as write:
                batch = captioner.caption_batch(inputs, on_text=write)
                if write is not None and batch.uncaptioned:
                    write("-")
        else:
            batch = captioner.caption_batch(inputs)
            for caption in batch.captions:
                self._reporter.stream_line(line_of(caption))
        return CaptionedBatch(batch.captions, [*missing, *batch.uncaptioned])


def fingerprint(checkpoint: OpenedCheckpoint, options: CaptionOptions) -> str:
    """A short name of the model's files and of all options."""
    facts = [sorted(file_stamps(checkpoint.files).items()), options.to_json()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def fetch_remote(media: Sequence[Medium], folder: Path, max_bytes: int) -> tuple[list[Medium], list[Uncaptioned]]:
    """The media as files of this machine, and the reasons of those that could not be fetched."""
    local: list[Medium] = []
    missing: list[Uncaptioned] = []
    for medium in media:
        try:
            local.append(fetch(medium, folder, max_bytes) if medium.is_remote else medium)
        except DataError as error:
            missing.append(Uncaptioned(medium.name, error.message.removeprefix(f"{medium.name}: ")))
    return local, missing


@contextlib.contextmanager
def _folder_for_remote(media: Sequence[Medium]) -> Iterator[Path]:
    """Where media from the network lie while they are captioned; only made if there are any."""
    if any(medium.is_remote for medium in media):
        with tempfile.TemporaryDirectory(prefix="aurora-") as folder:
            yield Path(folder)
    else:
        yield Path()
