"""Images and videos in, captions out: what `aurora caption`, its page and the Python API share.

Shapes: F frames, S side of the tower's square.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch

from aurora_cli.captioning.caption_stream import CaptionStream, Read, Writing
from aurora_cli.captioning.decoding import DecodingBatch, NewRow
from aurora_cli.captioning.generation import generate
from aurora_cli.captioning.inputs import CaptionInput, Media, caption_inputs
from aurora_cli.captioning.memory import peak_memory_mb
from aurora_cli.captioning.options import CaptionOptions
from aurora_cli.captioning.prompts import Prompt
from aurora_cli.captioning.result import Caption, CaptionCost, CaptionedBatch, Part, Uncaptioned, part_of
from aurora_cli.captioning.sampling import seed_of_medium
from aurora_cli.captioning.text_stream import TextStream, WriteText
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import ModelSettings
from aurora_cli.data.media.kinds import MediaKind
from aurora_cli.data.tokenization.prompt import Prompter
from aurora_cli.data.tokenization.tokenizer import TextTokenizer, used_ids
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.prefetch import taken_ahead
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.models.positions import positions_of


class Captioner:
    """A model that is ready to caption; `aurora_cli.load_captioner` makes one."""

    def __init__(
        self,
        model: AuroraCap,
        tokenizer: TextTokenizer,
        image_settings: ModelSettings,
        options: CaptionOptions,
        *,
        is_foreign: bool = False,
        trained_ratios: tuple[float, ...] = (),
    ) -> None:
        """`is_foreign`: others trained the model by the tokenizer's own template; `trained_ratios`: of one that was
        trained at several kept ratios."""
        self.model = model
        self.tokenizer = tokenizer
        self.image_settings = image_settings
        self.options = options
        self.trained_ratios = trained_ratios
        self.prompter = Prompter(tokenizer, options.template, is_foreign=is_foreign)
        """Writes its prompts."""
        self.never = _ids_never_written(model, None if is_foreign else tokenizer)
        """Ids that it does not write."""
        self.positions = positions_of(model.config.get_text_config())
        """Of its language model."""

    def text_of(self, ids: Sequence[int]) -> str:
        """The words of a caption's ids."""
        return self.tokenizer.backend.decode(list(ids), skip_special_tokens=True).strip()

    @property
    def dtype(self) -> str:
        """Of the weights in memory: `float32`, `bfloat16`, `float16`."""
        return str(self.model.dtype).removeprefix("torch.")

    def caption(
        self,
        media: Iterable[Media],
        *,
        spans: Sequence[Part | None] | None = None,
        prompt: str | None = None,
        frames: int | None = None,
        token_kept_ratio: float | None = None,
        slowfast: bool | None = None,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        num_beams: int | None = None,
        seed: int | None = None,
        batch_size: int = 8,
        on_error: Callable[[Uncaptioned], None] | None = None,
    ) -> list[Caption]:
        """Caption images and videos, in order. What is not given is as the model was trained, else as `aurora caption`.

        Example:
            import numpy as np
            import aurora_cli

            captioner = aurora_cli.load_captioner("export/huggingface")
            frames_FHWC = np.zeros((12, 56, 56, 3), np.uint8)
            for result in captioner.caption(["clip.mp4", frames_FHWC], prompt="What moves?", token_kept_ratio=0.5):
                print(result.media, result.caption, result.visual_tokens)

        Args:
            media: for each image its file, or a PIL image, or an array (H, W, 3) of uint8; for each video its file, a
                folder of frames, a list of frame files or of PIL images, or an array (F, H, W, 3) of uint8.
            spans: for each medium the seconds of the part of it that is captioned, `(3.0, 7.5)`; `(3.0, None)` to its
                end; None all of it.
            prompt: the question about each medium; none: one for images, another for videos, those of `aurora caption`.
            frames: frames taken evenly from a video.
            token_kept_ratio: share of a frame's patches that reach the language model.
            slowfast: keep the first frame of a video whole.
            max_new_tokens: tokens of a caption at most; 256 where not given.
            temperature: tokens are sampled, the more freely the higher it is; 0 (where not given) takes the likeliest.
            top_p: sample from the likeliest tokens that together have this probability.
            num_beams: beams of the beam search.
            seed: of what is sampled; the same media by the same names are captioned the same (with beams: in the same
                batches).
            batch_size: media captioned at a time; the next is read and begun while others are written.
            on_error: called with each medium that cannot be read, which then has no caption in the list; none: raise.

        Raises:
            DataError: a medium cannot be read, and there is no `on_error`.
            UsageError: something that is no medium or no span of one, or an option out of its range.
        """
        changes = {
            "prompt": prompt,
            "clip_prompt": prompt,
            "frames": frames,
            "token_kept_ratio": token_kept_ratio,
            "slowfast": slowfast,
            "max_new_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "num_beams": num_beams,
            "seed": seed,
            "batch_size": batch_size,
        }
        options = self.options.changed(changes)
        inputs = caption_inputs(media, spans)
        reads = self.read_ahead(inputs, options, batch_size)
        captions: list[Caption] = []
        for batch in self.captions(reads, options, batch_size=batch_size):
            for failure in batch.uncaptioned:
                if on_error is None:
                    raise DataError(f"{failure.media}: {failure.reason}")
                on_error(failure)
            captions += batch.captions
        return captions

    def caption_batch(
        self, inputs: Sequence[CaptionInput], options: CaptionOptions | None = None, on_text: WriteText | None = None
    ) -> CaptionedBatch:
        """Caption the inputs that can be read, all at once.

        `options` stand for this one call in the place of the captioner's own. `on_text` takes the caption of a single
        input piece by piece.
        """
        reads = (self.read(each, options) for each in inputs)
        on_text = on_text if len(inputs) == 1 else None
        whole = CaptionedBatch([], [])
        for batch in self.captions(reads, options, batch_size=len(inputs), on_text=on_text):
            whole.captions.extend(batch.captions)
            whole.uncaptioned.extend(batch.uncaptioned)
        return whole

    def read(self, medium: CaptionInput, options: CaptionOptions | None = None) -> Read | Uncaptioned:
        """Its frames and its prompt, or why there are none."""
        began = time.monotonic()
        try:
            frames, prompt = self._read(medium, options or self.options)
        except DataError as error:
            reason = _without_name(error.message, medium)
            return Uncaptioned(medium.name, reason, medium.id, part_of(medium.span))
        return Read(medium, frames, prompt, time.monotonic() - began)

    def read_ahead(
        self, inputs: Sequence[CaptionInput], options: CaptionOptions, batch_size: int
    ) -> Iterator[Read | Uncaptioned]:
        """Read in a thread while others are captioned; one alone without a thread."""
        if min(len(inputs), batch_size) == 1:
            return (self.read(each, options) for each in inputs)
        return taken_ahead(lambda: (self.read(each, options) for each in inputs), batch_size, waits=False)

    def captions(
        self,
        reads: Iterable[Read | Uncaptioned],
        options: CaptionOptions | None = None,
        *,
        batch_size: int = 8,
        on_text: WriteText | None = None,
    ) -> Iterator[CaptionedBatch]:
        """Caption what was read, `batch_size` media at a time: results in order, as soon as they are there.

        `on_text` takes the caption of a single medium piece by piece.
        """
        options = options or self.options
        if options.decoding.num_beams > 1:
            yield from self._by_beams(iter(reads), options, batch_size, on_text)
            return
        stream = None if on_text is None else TextStream(self.text_of, on_text)
        batch = DecodingBatch(self.model, never=self.never)
        yield from CaptionStream(
            batch,
            batch_size,
            lambda number, read: self._row(number, read, options),
            lambda writing: self._caption(writing, options),
            None if stream is None else stream.put,
        ).run(iter(reads))
        if stream is not None:
            stream.end()

    def visual_tokens(self, frames: int, merging: TokenMerging) -> int:
        """Tokens that the language model reads for one medium of so many frames."""
        side = self.image_settings.image_size
        return sum(self.model.config.frame_token_counts(side, side, merging).per_frame([frames]))

    def prompt_tokens(self, kind: MediaKind, options: CaptionOptions) -> int:
        """Tokens that the language model reads before the caption of an image or a video, visual ones among them."""
        frames = options.frames if kind == "video" else 1
        ids = self.prompter.ids(options.question(kind), frames)
        return len(ids) - frames + self.visual_tokens(frames, options.merging)

    def check_positions(self, kinds: Iterable[MediaKind], options: CaptionOptions) -> list[str]:
        """Warnings, where a caption may become longer than the language model has positions for.

        Raises:
            UsageError: the prompt alone is.
        """
        positions, warnings = self.positions, []
        for kind in sorted(set(kinds)):
            prompt, new = self.prompt_tokens(kind, options), options.decoding.max_new_tokens
            what = (
                f"the prompt of {'a video' if kind == 'video' else 'an image'} has {prompt:,} tokens, and"
                f" max_position_embeddings of the language model reaches {positions.limit:,}"
            )
            if not positions.hold_prompt(prompt):
                raise UsageError(what, hint="Take fewer --frames, or a lower --token-kept-ratio.")
            if prompt + new > positions.limit:
                warnings.append(
                    f"{what}: of a caption (--max-new-tokens {new}) trust the first"
                    f" {max(0, positions.limit - prompt):,} tokens alone"
                )
        return warnings

    def as_seen(self, frames_F3SS: torch.Tensor) -> list[np.ndarray]:
        """The tower's input as a person sees it: F arrays (S, S, 3) of uint8."""
        settings = self.image_settings
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (settings.image_mean, settings.image_std))
        bytes_F3SS = ((frames_F3SS * std + mean) * 255).round().clamp(0, 255).byte()
        return [frame.permute(1, 2, 0).contiguous().numpy() for frame in bytes_F3SS]

    def _read(self, medium: CaptionInput, options: CaptionOptions) -> tuple[torch.Tensor, list[int]]:
        frames = medium.frames(options.frames, self.image_settings, options.sampling)
        try:
            question = options.question(medium.kind) if medium.question is None else medium.question
            prompt = self.prompter.ids(question, len(frames))
        except UsageError as error:
            if medium.question is None:
                raise
            raise DataError(error.message) from error  # the fault of this medium alone
        tokens = len(prompt) - len(frames) + self.visual_tokens(len(frames), options.merging)
        if not self.positions.hold_prompt(tokens):
            limit = self.positions.limit
            raise DataError(f"its prompt has {tokens:,} tokens, and max_position_embeddings reaches {limit:,}")
        return frames, prompt

    def _row(self, number: int, read: Read, options: CaptionOptions) -> NewRow:
        decoding, medium = options.decoding, read.medium
        return NewRow(
            key=number,
            prompt=read.prompt,
            frames_F3SS=read.frames_F3SS,
            merging=options.merging,
            end_ids=self.prompter.end_ids,
            max_new_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            seed=seed_of_medium(decoding.seed, medium.name, medium.id, part_of(medium.span)),
        )

    def _caption(self, writing: Writing, options: CaptionOptions) -> Caption:
        read, frames = writing.read, len(writing.read.frames_F3SS)
        prefill_s = None if options.decoding.num_beams > 1 else round(writing.prefill_s, 4)
        return Caption(
            media=read.medium.name,
            kind=read.medium.kind,
            caption=self.text_of(writing.ids),
            frames=frames,
            visual_tokens=self.visual_tokens(frames, options.merging),
            prompt_tokens=len(read.prompt) - frames,
            new_tokens=len(writing.ids),
            seconds=round(writing.seconds, 3),
            id=read.medium.id,
            span=part_of(read.medium.span),
            prompt=read.medium.question,
            cost=CaptionCost(prefill_s, round(writing.decode_s, 4), peak_memory_mb(self.model.device)),
        )

    def _by_beams(
        self, reads: Iterator[Read | Uncaptioned], options: CaptionOptions, batch_size: int, on_text: WriteText | None
    ) -> Iterator[CaptionedBatch]:
        """Batch by batch; a caption's text is decided at its end."""
        while batch := list(itertools.islice(reads, batch_size)):
            began, readable = time.monotonic(), [each for each in batch if isinstance(each, Read)]
            new_ids = generate(
                self.model,
                [Prompt(each.prompt, each.frames_F3SS, options.merging, [len(each.frames_F3SS)]) for each in readable],
                options,
                names=[each.medium.name for each in readable],
                end_ids=self.prompter.end_ids,
                never=self.never,
            )
            seconds = (time.monotonic() - began) / max(1, len(readable))
            written = [Writing(each, ids, seconds) for each, ids in zip(readable, new_ids, strict=True)]
            captions = [self._caption(each, options) for each in written]
            if on_text is not None:
                for caption in captions:
                    on_text(caption.caption)
            yield CaptionedBatch(captions, [each for each in batch if isinstance(each, Uncaptioned)])


def _ids_never_written(model: AuroraCap, tokenizer: TextTokenizer | None) -> list[int]:
    """Those that the model's own generation config names, and rows of its head that no token of the tokenizer has.

    Such rows pad the embedding and are untrained; our exports name them, a run and other layouts have no place to.
    """
    named: set[int] = {*(getattr(model.generation_config, "suppress_tokens", None) or [])}
    if tokenizer is not None:
        named.update(range(used_ids(tokenizer.backend), model.config.get_text_config().vocab_size))
    return sorted(named)


def _without_name(message: str, medium: CaptionInput) -> str:
    """The reason alone, where the message begins with the name that stands beside it."""
    return message.removeprefix(f"{medium.source}: ").removeprefix(f"{medium.name}: ")
