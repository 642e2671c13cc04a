"""The processor of an AuroraCap export: one placeholder a frame; the model knows how many tokens a frame becomes.

Images become RGB as in training: upright, deep greys scaled down, transparency over white.
"""

from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.processing_utils import ProcessingKwargs

from aurora_cli.data.media.rgb import as_rgb, upright


class AuroraProcessor(LlavaProcessor):
    """Images and texts to what `AuroraCapForImageTextToText` reads.

    `images` are all frames in reading order, and every one has its `<image>` in the text. `media_lengths` says which of
    them are frames of one video: `[1, 8]` is an image and a video of eight; left out, every text has one medium.
    """

    def __call__(
        self, images: Any = None, text: Any = None, media_lengths: list[int] | None = None, **kwargs: Any
    ) -> BatchFeature:
        kind: Any = ProcessingKwargs
        options: Any = self._merge_kwargs(kind, tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        for_text, for_images = options["text_kwargs"], options["images_kwargs"]
        for_text.pop("return_mm_token_type_ids", None)
        data: dict[str, Any] = {}
        if text is not None:
            for_text |= {"return_tensors": "pt", "padding": for_text.get("padding") or True}
            encoded = self.tokenizer([text] if isinstance(text, str) else text, **for_text)
            data |= {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        if images is not None:
            data |= self.image_processor(_frames(images), **(for_images | {"return_tensors": "pt"}))
        if media_lengths is not None:
            data["media_lengths"] = torch.tensor(media_lengths)
        return BatchFeature(data)


def _frames(images: Any) -> list[Any]:
    """All frames in a row; those of Pillow as training saw them, arrays and tensors as they are."""
    entries = images if isinstance(images, list | tuple) else [images]
    frames = [frame for entry in entries for frame in (entry if isinstance(entry, list | tuple) else [entry])]
    return [as_rgb(upright(frame)) if isinstance(frame, Image.Image) else frame for frame in frames]
