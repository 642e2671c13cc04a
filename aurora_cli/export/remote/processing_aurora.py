"""The processor of an AuroraCap export: one placeholder a frame; the model knows how many tokens a frame becomes."""

from typing import Any

import torch
from transformers import BatchFeature
from transformers.models.llava.processing_llava import LlavaProcessor

IMAGE_SENTINEL = -200


class AuroraProcessor(LlavaProcessor):
    """Pictures and texts to what `AuroraCapForImageTextToText` reads.

    `images` are all frames in reading order, and every one has its `<image>` in the text. `media_lengths` says which of
    them are frames of one clip: `[1, 8]` is a picture and a clip of eight; left out, every text has one medium.
    """

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, images: Any = None, text: Any = None, media_lengths: list[int] | None = None, **kwargs: Any
    ) -> BatchFeature:
        for_images = {key: kwargs.pop(key) for key in ("do_pad", "do_resize", "size") if key in kwargs}
        kwargs.pop("return_tensors", None)
        data: dict[str, Any] = {}
        if text is not None:
            encoded = self.tokenizer(
                [text] if isinstance(text, str) else text, padding=True, return_tensors="pt", **kwargs
            )
            ids = encoded["input_ids"]
            data["input_ids"] = ids.masked_fill(ids == self.image_token_id, IMAGE_SENTINEL)
            data["attention_mask"] = encoded["attention_mask"]
        if images is not None:
            data |= self.image_processor(_flat(images), return_tensors="pt", **for_images)
        if media_lengths is not None:
            data["media_lengths"] = torch.tensor(media_lengths)
        return BatchFeature(data)


def _flat(images: Any) -> list[Any]:
    if not isinstance(images, list | tuple):
        return [images]
    return [frame for entry in images for frame in (entry if isinstance(entry, list | tuple) else [entry])]
