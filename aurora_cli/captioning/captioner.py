"""A model ready to caption, and what it is asked: shared by `aurora caption` and its page."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import Settings
from aurora_cli.data.media.listing import Medium
from aurora_cli.errors import DataError

if TYPE_CHECKING:
    import torch

    from aurora_cli.checkpoints.checkpoint import Checkpoint
    from aurora_cli.checkpoints.facts import Prompting
    from aurora_cli.data.tokenization.tokenizer import TextTokenizer
    from aurora_cli.models.auroracap import AuroraCap

Said = Callable[[str], None]
"""Takes a caption piece by piece."""


class Decoding(NamedTuple):
    """How a caption's words are chosen."""

    max_new_tokens: int
    temperature: float
    top_p: float
    num_beams: int
    seed: int


class Asked(NamedTuple):
    """What decides a caption, beside the model's weights."""

    merging: TokenMerging
    template: str
    frames: int
    sampling: tuple[Literal["timestamp", "uniform", "fps"], float]
    """As `data.video_decoding.Sampling`."""
    prompt: str
    clip_prompt: str
    decoding: Decoding

    def as_json(self) -> dict[str, Any]:
        return {
            **self._asdict(),
            "merging": self.merging.model_dump(mode="json"),
            "decoding": self.decoding._asdict(),
        }


def asked_of(settings: Settings, checkpoint: "Checkpoint") -> Asked:
    """What the user says, else what the model was trained with, else the settings of training."""
    caption = settings.caption
    trained: Prompting | None = checkpoint.prompting
    changes = {"kept_ratio": caption.token_kept_ratio, "slowfast": caption.slowfast}
    update = {key: value for key, value in changes.items() if value is not None}
    return Asked(
        merging=checkpoint.merging.model_copy(update=update),
        template=trained.template if trained else settings.tokenize.template,
        frames=caption.frames or (trained.frames if trained else settings.tokenize.frames),
        sampling=(settings.data.frame_sampling, settings.data.fps),
        prompt=caption.prompt,
        clip_prompt=caption.clip_prompt,
        decoding=Decoding(caption.max_new_tokens, caption.temperature, caption.top_p, caption.num_beams, caption.seed),
    )


def load_captioner(settings: Settings, checkpoint: "Checkpoint", asked: Asked) -> "Captioner":
    """The model in memory, where the settings want it.

    Raises:
        DataError: it is damaged, or nobody knows its tokenizer.
        UsageError: the device is not there, or the kept ratio cannot be reached.
    """
    from aurora_cli.checkpoints.loading import build_model, resolve_device, spread
    from aurora_cli.checkpoints.locate import locate
    from aurora_cli.data.tokenization.tokenizer import load_tokenizer

    caption = settings.caption
    name = checkpoint.tokenizer or settings.model.tokenizer
    if name is None:
        raise DataError(f"{checkpoint.path}: has no tokenizer", hint="Name one: --set model.tokenizer=DIR")
    tokenizer = load_tokenizer(locate(name, settings.workspace))
    device = resolve_device(caption.device)
    dtype = "bfloat16" if device.type == "cuda" else "float32"
    if caption.device_map is None:
        model = build_model(checkpoint, asked.merging, dtype, device)
    else:
        model = spread(build_model(checkpoint, asked.merging, dtype), caption.device_map)
    return Captioner(model, tokenizer, checkpoint, asked)


class Captioner:
    """Images and videos in, lines out."""

    def __init__(self, model: "AuroraCap", tokenizer: "TextTokenizer", checkpoint: "Checkpoint", asked: Asked) -> None:
        from aurora_cli.data.tokenization.prompt import Prompter

        self.model = model
        self.tokenizer = tokenizer
        self.images = checkpoint.model
        self.asked = asked
        self.prompter = Prompter(tokenizer, asked.template)

    def caption(
        self, media: Sequence[Medium], asked: Asked | None = None, say: Said | None = None
    ) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Lines of the media that can be read, and the reasons of the others.

        `asked` stands for this one call in the place of the captioner's own; `say` is told the caption of a single
        medium as it comes.
        """
        import torch

        asked = asked or self.asked
        readable: list[tuple[Medium, torch.Tensor]] = []
        rejected: list[dict[str, str]] = []
        began = time.monotonic()
        for medium in media:
            try:
                readable.append((medium, self._frames(medium, asked)))
            except DataError as error:
                rejected.append({"media": medium.name, "reason": error.message})
        if not readable:
            return [], rejected
        questions = {"video": asked.clip_prompt, "image": asked.prompt}
        prompts = [self.prompter.ids(questions[medium.kind], len(frames)) for medium, frames in readable]
        names = [medium.name for medium, _ in readable]
        new_ids = self._generate(names, prompts, [frames for _, frames in readable], asked, say)
        seconds = (time.monotonic() - began) / len(readable)
        lines = [
            {
                "media": medium.name,
                "kind": medium.kind,
                "caption": self.text_of(ids),
                "frames": len(frames),
                "visual_tokens": self.visual_tokens(len(frames), asked.merging),
                "prompt_tokens": len(prompt) - len(frames),
                "new_tokens": len(ids),
                "seconds": round(seconds, 3),
            }
            for (medium, frames), prompt, ids in zip(readable, prompts, new_ids, strict=True)
        ]
        return lines, rejected

    def visual_tokens(self, frames: int, merging: TokenMerging) -> int:
        """Tokens that the language model reads for one medium of so many frames."""
        side = self.images.image_size
        counts = self.model.config.frame_tokens(side, side, merging)
        whole = int(merging.slowfast and frames > 1)
        return whole * counts.whole + (frames - whole) * counts.merged

    def text_of(self, ids: Sequence[int]) -> str:
        return self.tokenizer.backend.decode(list(ids), skip_special_tokens=True).strip()

    def frames_to_look_at(self, medium: Medium, asked: Asked) -> "tuple[torch.Tensor, list[Any]]":
        """The frames as the tower gets them, (F, 3, S, S), and as a person sees them: F arrays (S, S, 3) uint8."""
        import torch

        frames = self._frames(medium, asked)
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (self.images.image_mean, self.images.image_std))
        bytes_F3SS = ((frames * std + mean) * 255).round().clamp(0, 255).byte()
        return frames, [frame.permute(1, 2, 0).contiguous().numpy() for frame in bytes_F3SS]

    def _frames(self, medium: Medium, asked: Asked) -> "torch.Tensor":
        from aurora_cli.data.media.reader import load_frames
        from aurora_cli.data.media.video_decoder import Sampling

        model = self.images
        how = Sampling(*asked.sampling)
        return load_frames(None, medium.path, asked.frames, model.image_size, model.image_mean, model.image_std, how)

    def _generate(
        self,
        names: list[str],
        prompts: list[list[int]],
        frames: "list[torch.Tensor]",
        asked: Asked,
        say: Said | None,
    ) -> list[list[int]]:
        import torch

        width = max(map(len, prompts))
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        mask = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.tensor(prompt)
            mask[row, : len(prompt)] = 1
        device, end, decoding = self.model.device, self.prompter.end_id, asked.decoding
        sampled: dict[str, Any] = {"do_sample": False}
        if decoding.temperature > 0:
            sampled = {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
        streamer = _Streamer(self.text_of, say) if say and len(prompts) == 1 and decoding.num_beams == 1 else None
        with torch.random.fork_rng():
            torch.manual_seed(_seed(decoding.seed, names))
            out = self.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                pixel_values=torch.cat(frames).to(device, self.model.dtype),
                media_lengths=[len(each) for each in frames],
                merging=asked.merging,
                max_new_tokens=decoding.max_new_tokens,
                num_beams=decoding.num_beams,
                eos_token_id=end,
                pad_token_id=end,
                streamer=streamer,
                **sampled,
            )
        return [row[: row.index(end)] if end in row else row for row in out.tolist()]


class _Streamer:
    """Hands on text as its tokens come; what a next token may still change is held back. transformers calls it."""

    def __init__(self, text_of: Callable[[Sequence[int]], str], say: Said) -> None:
        self._text_of, self._say = text_of, say
        self._ids: list[int] = []
        self._said = ""

    def put(self, value: "torch.Tensor") -> None:
        self._ids += value.flatten().tolist()
        text = self._text_of(self._ids)
        if not text.endswith("\ufffd"):  # the first bytes of a letter
            self._hand_on(text)

    def end(self) -> None:
        self._hand_on(self._text_of(self._ids))

    def _hand_on(self, text: str) -> None:
        if len(text) > len(self._said):
            self._say(text[len(self._said) :])
            self._said = text


def _seed(seed: int, names: Sequence[str]) -> int:
    """Of one batch: the same media in the same company are captioned in the same words."""
    return int.from_bytes(hashlib.sha256(json.dumps([seed, *names]).encode()).digest()[:7], "big")


def made_by(checkpoint: "Checkpoint", asked: Asked) -> str:
    """A short name of the model's files and everything asked."""
    from aurora_cli.checkpoints.facts import file_stamps

    facts = [sorted(file_stamps(checkpoint.files).items()), asked.as_json()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
