"""A request's prompt and media -> ids, pixels, and the plan by which each medium merges.

Shapes: L layers of the tower that run, F frames, S side of the tower's square.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.media import MediaWithBytes
from vllm.multimodal.parse import ModalityDataItems, MultiModalDataItems, MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdateDetails,
)
from vllm.multimodal.processing.inputs import ProcessorInputs
from vllm.multimodal.processing.processor import PlaceholderFeaturesInfo

from aurora_cli.constants import IMAGE
from aurora_cli.data.media.kinds import MediaKind
from aurora_cli.errors import AuroraError
from aurora_cli.serving.vllm.inside import loader
from aurora_cli.serving.vllm.medium import Medium, are_frames, image_of, video_of
from aurora_cli.serving.vllm.prompt import find_marks, laid_out
from aurora_cli.serving.vllm.served import MediaRequest, ServedModel, served_model

KINDS: tuple[MediaKind, ...] = ("image", "video")
WHOLE = {"token_kept_ratio": 1.0}


class MediaItems(ModalityDataItems[Sequence[Medium], Medium]):
    """Media of one kind, as they came."""

    def get_count(self) -> int:
        return len(self.data)

    def get(self, index: int) -> Medium:
        return self.data[index]

    def get_item_for_hash(self, index: int) -> object:
        return self.data[index].content

    def get_processor_data(self) -> Mapping[str, object]:
        return {f"{self.modality}s": self.get_all()}

    def get_passthrough_data(self) -> Mapping[str, object]:
        return {}


class MediaParser(MultiModalDataParser):
    """Whatever stands for images and videos in `multi_modal_data`, and what vLLM made of URLs."""

    def _parse_image_data(self, data: Any) -> MediaItems | None:
        images = data if isinstance(data, list) else [data]
        with refused():
            return None if data is None else MediaItems([image_of(_file_of(each)) for each in images], "image")

    def _parse_video_data(self, data: Any) -> MediaItems | None:
        videos = [data] if are_frames(data) or not isinstance(data, list) else data
        with refused():
            return None if data is None else MediaItems([video_of(_file_of(each)) for each in videos], "video")


def _file_of(given: Any) -> Any:
    """The bytes behind what vLLM opened; of a video with metadata, its frames."""
    if isinstance(given, MediaWithBytes):
        if isinstance(given.media, Image.Image):
            return given.original_bytes
        frames, metadata = given.media
        return given.original_bytes if metadata.get("video_backend") == loader.NAME else frames
    return given[0] if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dict) else given


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """An error of ours as vLLM understands it: this request is refused with the reason, and the server goes on."""
    try:
        yield
    except AuroraError as error:
        raise ValueError(str(error)) from error


class AuroraInfo(BaseProcessingInfo):
    """What vLLM asks about the model before there is a request."""

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        ctx.get_mm_config().media_io_kwargs.setdefault("video", {}).setdefault("video_backend", loader.NAME)

    @cached_property
    def served(self) -> ServedModel:
        config = self.ctx.model_config
        return served_model(config.model, config.hf_config, config.revision)

    @cached_property
    def between(self) -> list[int]:
        """What stands between two frames of a video."""
        ids = self.get_tokenizer().encode(f"{IMAGE} {IMAGE}", add_special_tokens=False)
        first = ids.index(self.image_id)
        return ids[first + 1 : ids.index(self.image_id, first + 1)]

    @property
    def image_id(self) -> int:
        return self.ctx.model_config.hf_config.image_token_index

    def requested(self, changes: Mapping[str, object]) -> MediaRequest:
        """What a request wants, else the server, else the export."""
        return self.served.requested(self.ctx.get_merged_mm_kwargs(changes))

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"image": None, "video": None}

    def get_data_parser(self) -> MediaParser:
        return MediaParser()

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        """Of media that nothing is merged of: any request may ask for that."""
        whole = self.requested(WHOLE)
        return {kind: sum(self.served.tokens(kind, whole)) for kind in KINDS if mm_counts.get(kind)}


class AuroraDummyInputs(BaseDummyInputsBuilder[AuroraInfo]):
    """The largest media, by which vLLM measures memory."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return f"{IMAGE}\n" * mm_counts.get("image", 0) + f"{IMAGE}{IMAGE}\n" * mm_counts.get("video", 0)

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Any) -> dict[str, list[Medium]]:
        side = self.info.served.side
        frame = Image.new("RGB", (side, side))
        media = {"image": image_of(frame), "video": video_of([frame])}
        return {kind: [media[kind]] * mm_counts.get(kind, 0) for kind in KINDS}


class AuroraProcessor(BaseMultiModalProcessor[AuroraInfo]):
    """vLLM keeps what came of a medium under its bytes and the request's `mm_processor_kwargs`, so its kept ratio."""

    def get_dummy_inputs(self, *args: Any, **kwargs: Any) -> ProcessorInputs:
        inputs = super().get_dummy_inputs(*args, **kwargs)
        inputs.hf_processor_mm_kwargs = {**inputs.hf_processor_mm_kwargs, **WHOLE}
        return inputs

    def apply(self, *args: Any, **kwargs: Any) -> Any:
        with refused():
            return super().apply(*args, **kwargs)

    def _apply_hf_processor_main(self, mm_items: MultiModalDataItems, hf_kwargs: Mapping[str, object]) -> BatchFeature:
        request, served = self.info.requested(hf_kwargs), self.info.served
        data: dict[str, torch.Tensor] = {}
        for kind in KINDS:
            media = mm_items[kind].get_all() if kind in mm_items else []
            if not media:
                continue
            plan = served.plan(kind, request)
            pixels = [medium.pixels(request.frames_of(kind), served.model) for medium in media]
            data[f"{kind}_pixels"] = torch.stack(pixels)
            data[f"{kind}_plan"] = torch.tensor([plan.numbers] * len(media))
        return BatchFeature(data)

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        fields = {}
        for kind in KINDS:
            fields[f"{kind}_pixels"] = MultiModalFieldConfig.batched(kind)
            fields[f"{kind}_plan"] = MultiModalFieldConfig.batched(kind, keep_on_cpu=True)
        return fields

    def _get_prompt_updates(
        self, mm_items: MultiModalDataItems, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> list[PromptReplacement]:
        request, info = self.info.requested(hf_processor_mm_kwargs), self.info

        def replacement(kind: MediaKind) -> PromptReplacement:
            ids = laid_out(info.served.tokens(kind, request), info.image_id, info.between)
            details = PromptUpdateDetails.select_token_id(ids, info.image_id)
            return PromptReplacement(modality=kind, target=[info.image_id], replacement=details)

        return [replacement(kind) for kind in KINDS if kind in mm_items]

    def _apply_prompt_updates(
        self, token_ids: list[int], mm_prompt_updates: Mapping[str, Any]
    ) -> tuple[list[int], dict[str, list[PlaceholderFeaturesInfo]]]:
        """In the place of vLLM's search, which cannot tell a video's frames from images."""
        counts = {kind: len(mm_prompt_updates.get(kind, ())) for kind in KINDS}
        frames = self._frames(mm_prompt_updates)
        marks = find_marks(
            token_ids,
            self.info.image_id,
            self.info.between,
            images=counts["image"],
            videos=counts["video"],
            frames=frames,
        )
        found: dict[str, list[PlaceholderFeaturesInfo]] = {kind: [] for kind in KINDS if counts[kind]}
        ids: list[int] = []
        done = 0
        for mark in marks:
            ids += token_ids[done : mark.start]
            number = len(found[mark.kind])
            (update,) = mm_prompt_updates[mark.kind][number]
            tokens = update.content.full
            is_embed = torch.tensor(tokens) == self.info.image_id
            found[mark.kind].append(PlaceholderFeaturesInfo(mark.kind, number, len(ids), tokens, is_embed))
            ids += tokens
            done = mark.end
        return ids + token_ids[done:], found

    def _frames(self, mm_prompt_updates: Mapping[str, Any]) -> int:
        """Of the request's videos, by what stands between them."""
        for updates in mm_prompt_updates.get("video", ()):
            others = len(updates[0].content.full) - updates[0].content.full.count(self.info.image_id)
            if self.info.between:
                return 1 + others // len(self.info.between)
        return self.info.requested({}).frames
