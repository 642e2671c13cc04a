"""`aurora caption`: what a captioner says about pictures and clips."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import EXIT_DATA, EXIT_OK, DataError, UsageError
from aurora_cli.files import write_json
from aurora_cli.pipeline.caption_lines import CaptionLines
from aurora_cli.pipeline.convert import newest_finished_run
from aurora_cli.pipeline.media_list import Medium, list_media
from aurora_cli.pipeline.result import Result

if TYPE_CHECKING:
    import torch

    from aurora_cli.export.checkpoint import Checkpoint, Prompting
    from aurora_cli.models.auroracap import AuroraCap


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

    def lines(self) -> list[str]:
        if self.dry_run:
            return [f"Would caption {self.media:,} pictures and clips with {self.model}"]
        said = [f"{line['media']}: {line['caption']}" for line in self.captions]
        if self.reused:
            said.append(f"{self.reused:,} of them were captioned before")
        said += [f"{line['media']}: NOT CAPTIONED: {line['reason']}" for line in self.rejected]
        return [*said, f"{self.output}"] if self.output else said

    @property
    def exit_code(self) -> int:
        return EXIT_DATA if self.rejected else EXIT_OK


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> CaptionResult:
    """Caption everything that can be read; the rest is listed, and makes the exit code 3.

    Raises:
        UsageError: no media, a URL, or a folder without any.
        DataError: there is no model, or it is damaged.
    """
    caption = settings.caption
    workspace = Workspace(settings.workspace)
    if not caption.media:
        raise UsageError("no media are named", hint="aurora caption picture.jpg clip.mp4 folder/")
    media = list_media(caption.media, workspace.root)
    name = caption.model or str(find_model(workspace, reporter))
    output = None if caption.output is None else workspace.path(caption.output)
    if dry_run:
        return CaptionResult(name, dry_run=True, media=len(media))

    from aurora_cli.export.checkpoint import Origin
    from aurora_cli.export.opening import open_checkpoint

    checkpoint = open_checkpoint(name, Origin(workspace.root, None, settings.model))
    asked = _asked(settings, checkpoint)
    lines = None if output is None else CaptionLines(output, _made_by(checkpoint, asked))
    if lines is not None and lines.replaced:
        reporter.info(f"{output}: {lines.replaced:,} captions by another model or other settings are made anew")
    done = {} if lines is None else lines.done
    todo = [medium for medium in media if medium.name not in done]
    reused = len(media) - len(todo)
    captions = {medium.name: done[medium.name] for medium in media if medium.name in done}
    rejected: list[dict[str, str]] = []
    if todo:
        captioner = _load(settings, checkpoint, asked, workspace)
        with reporter.progress("captioning", len(todo), "media") as advance:
            for start in range(0, len(todo), caption.batch_size):
                batch = todo[start : start + caption.batch_size]
                made, bad = captioner.caption(batch)
                for line in bad:
                    reporter.warning(f"{line['media']}: skipped: {line['reason']}")
                rejected += bad
                if lines is not None:
                    lines.add({**line, "made_by": lines.made_by} for line in made)
                captions |= {line["media"]: line for line in made}
                advance(len(batch))
    if lines is not None and output is not None:
        lines.reject(rejected)
        write_json(output.with_name(f"{output.name}.settings.json"), {"model": name, **asked.as_json()})
    ordered = tuple(captions[medium.name] for medium in media if medium.name in captions)
    said = None if output is None else str(output)
    return CaptionResult(name, ordered, tuple(rejected), reused, said, media=len(media))


def find_model(workspace: Workspace, reporter: Reporter = SILENT) -> Path:
    """The workspace's export in the huggingface layout, else its newest run.

    Raises:
        DataError: there is neither; the hint is the command that makes one.
    """
    export = workspace.export("huggingface")
    try:
        newest = newest_finished_run(workspace)
    except DataError as error:
        newest = None
        if not export.is_dir():
            raise DataError(f"there is no model to caption with: {error.message}", hint=error.hint) from error
    if not export.is_dir():
        assert newest is not None
        return newest
    if newest is not None:
        finished = workspace.root / newest / "finished.json"
        if finished.stat().st_mtime > (export / "config.json").stat().st_mtime:
            reporter.warning(
                f"{newest} is newer than {export}: `aurora convert --format huggingface` brings it up to date"
            )
    return export.relative_to(workspace.root)


class Asked(NamedTuple):
    """What decides a caption, beside the model's weights."""

    merging: TokenMerging
    template: str
    frames: int
    prompt: str
    clip_prompt: str
    max_new_tokens: int

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "merging": self.merging.model_dump(mode="json")}


def _asked(settings: Settings, checkpoint: "Checkpoint") -> Asked:
    """What the user says, else what the model was trained with, else the settings of training."""
    caption = settings.caption
    trained: Prompting | None = checkpoint.prompting
    changes = {"kept_ratio": caption.token_kept_ratio, "slowfast": caption.slowfast}
    update = {key: value for key, value in changes.items() if value is not None}
    return Asked(
        merging=checkpoint.merging.model_copy(update=update),
        template=trained.template if trained else settings.tokenize.template,
        frames=caption.frames or (trained.frames if trained else settings.tokenize.frames),
        prompt=caption.prompt,
        clip_prompt=caption.clip_prompt,
        max_new_tokens=caption.max_new_tokens,
    )


def _made_by(checkpoint: "Checkpoint", asked: Asked) -> str:
    """A short name of the model's files and everything asked."""
    from aurora_cli.export.receipts import stamps

    facts = [sorted(stamps(checkpoint.files).items()), asked.as_json()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _load(settings: Settings, checkpoint: "Checkpoint", asked: Asked, workspace: Workspace) -> "Captioner":
    from aurora_cli.data.tokenization import load_tokenizer
    from aurora_cli.export.loading import build_model, resolve_device
    from aurora_cli.export.locate import locate

    tokenizer = checkpoint.tokenizer or settings.model.tokenizer
    if tokenizer is None:
        raise DataError(f"{checkpoint.path}: has no tokenizer", hint="Name one: --set model.tokenizer=DIR")
    device = resolve_device(settings.caption.device)
    dtype = "bfloat16" if device.type == "cuda" else "float32"
    model = build_model(checkpoint, asked.merging, dtype, device)
    return Captioner(model, load_tokenizer(locate(tokenizer, workspace.root)), checkpoint, asked)


class Captioner:
    """A model ready to caption: pictures and clips in, lines out."""

    def __init__(self, model: "AuroraCap", tokenizer: Any, checkpoint: "Checkpoint", asked: Asked) -> None:
        from aurora_cli.data.tokenization import get_template

        self.model = model
        self.tokenizer = tokenizer
        self.pictures = checkpoint.model
        self.asked = asked
        self.template = get_template(asked.template)

    def caption(self, media: Sequence[Medium]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Lines of the media that can be read, and the reasons of the others."""
        import torch

        readable: list[tuple[Medium, torch.Tensor]] = []
        rejected: list[dict[str, str]] = []
        began = time.monotonic()
        for medium in media:
            try:
                readable.append((medium, self._frames(medium)))
            except DataError as error:
                rejected.append({"media": medium.name, "reason": error.message})
        if not readable:
            return [], rejected
        prompts = [self._prompt(medium, len(frames)) for medium, frames in readable]
        lengths = [len(frames) for _, frames in readable]
        new_ids = self._generate(prompts, torch.cat([frames for _, frames in readable]), lengths)
        seconds = (time.monotonic() - began) / len(readable)
        side = self.pictures.image_size
        counts = self.model.config.frame_tokens(side, side, self.asked.merging)
        slowfast = self.asked.merging.slowfast
        lines = []
        for (medium, frames), prompt, ids in zip(readable, prompts, new_ids, strict=True):
            visual = len(frames) * counts.merged
            if slowfast and len(frames) > 1:
                visual += counts.whole - counts.merged
            lines.append(
                {
                    "media": medium.name,
                    "kind": medium.kind,
                    "caption": self.tokenizer.backend.decode(ids, skip_special_tokens=True).strip(),
                    "frames": len(frames),
                    "visual_tokens": visual,
                    "prompt_tokens": len(prompt) - len(frames),
                    "new_tokens": len(ids),
                    "seconds": round(seconds, 3),
                }
            )
        return lines, rejected

    def _frames(self, medium: Medium) -> "torch.Tensor":
        from aurora_cli.data.media import load_frames

        model = self.pictures
        return load_frames(None, medium.path, self.asked.frames, model.image_size, model.image_mean, model.image_std)

    def _prompt(self, medium: Medium, frames: int) -> list[int]:
        """The question as training wrote it out, a sentinel a frame."""
        from aurora_cli.constants import IMAGE_SENTINEL
        from aurora_cli.data.conversation import IMAGE, pictures_first

        question = self.asked.clip_prompt if medium.kind == "clip" else self.asked.prompt
        text = pictures_first(IMAGE * frames + question, self.template, frames=None)
        begin = self.template.begin if self.template.begin is not None else self.tokenizer.bos_token
        ids = [self.tokenizer.backend.token_to_id(begin)] if begin else []
        for number, chunk in enumerate(self.template.prompt.replace("{text}", text).split(IMAGE)):
            if number:
                ids.append(IMAGE_SENTINEL)
            ids += self.tokenizer.encode(chunk)
        return ids

    def _generate(self, prompts: list[list[int]], pixels: "torch.Tensor", lengths: list[int]) -> Iterator[list[int]]:
        import torch

        width = max(map(len, prompts))
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        mask = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.tensor(prompt)
            mask[row, : len(prompt)] = 1
        device = self.model.device
        end = self._end_id()
        out = self.model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            pixel_values=pixels.to(device, self.model.dtype),
            media_lengths=lengths,
            max_new_tokens=self.asked.max_new_tokens,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
        )
        for row in out.tolist():
            yield row[: row.index(end)] if end in row else row

    def _end_id(self) -> int:
        end = self.template.end
        return self.tokenizer.eos_id if end is None else self.tokenizer.backend.token_to_id(end)
