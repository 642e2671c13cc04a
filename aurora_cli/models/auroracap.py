"""AuroraCap: the LLaVA of transformers with a vision tower that merges tokens.

Sources: AuroraCap (arXiv 2410.03051), LLaVA (arXiv 2304.08485) as transformers has it, SlowFast-LLaVA
(arXiv 2407.15841). Names in memory and on disk are LLaVA's, so that a saved model loads in plain transformers.

Shapes: B rows, P packed rows, T tokens of a row, F frames, M media, N visual tokens, C channels.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import LlavaForConditionalGeneration, LlavaModel
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.models.llava.modeling_llava import LlavaCausalLMOutputWithPast

from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import DataError
from aurora_cli.models import packed_attention
from aurora_cli.models.config import AuroraCapConfig
from aurora_cli.models.lm_head import LMHead, taught
from aurora_cli.models.merge_plan import WHOLE, frame_tokens
from aurora_cli.models.multimodal_inputs import (
    Expanded,
    count_placeholders,
    expand_placeholders,
    in_reading_order,
    media_of_rows,
    splice,
    whole_frames,
)
from aurora_cli.models.parts import PREFIXES, Part
from aurora_cli.models.vision_encoder import encode, has_class_token, install_merging, unused_parameters

__all__ = ["AuroraCap", "AuroraCapConfig"]


def _register_names_on_disk(kind: type) -> None:
    """LLaVA's names for a class that is not transformers' own: it would save names that no LLaVA has, and load what
    LLaVA saved with a random `lm_head`."""
    mapping: Any = get_checkpoint_conversion_mapping("llava")
    register_checkpoint_conversion_mapping(kind.__name__, mapping, overwrite=True)


class AuroraCap(LlavaForConditionalGeneration):
    """A captioner of images and videos.

    `input_ids` hold -200 once a frame, `pixel_values` (F, 3, H, W) all frames of the batch in reading order, and
    `media_lengths` (M,) the frames of each image (1) or video (n); left out, a row with placeholders has one medium.
    `merging` is how this one call merges; left out, what the config says. No call changes what another does.
    """

    config: AuroraCapConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _register_names_on_disk(cls)

    def __init__(self, config: AuroraCapConfig) -> None:
        # What the tower has decides, not LLaVA's default, by which plain transformers would cut a patch off of SigLIP.
        vision: Any = config.vision_config
        config.vision_feature_select_strategy = "default" if has_class_token(vision) else "full"
        super(LlavaForConditionalGeneration, self).__init__(config)
        self.model = LlavaModel(config)
        install_merging(self.model.vision_tower)
        text: Any = config.get_text_config()
        self.lm_head = LMHead(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()
        # A new projector starts as PyTorch's linear layers do, like the original's. LLaVA's deviation of 0.02 makes the
        # features of a small tower faint: the demo's loss stood at 0.34 after 230 steps, and at 0.21 from here.
        for layer in (self.model.multi_modal_projector.linear_1, self.model.multi_modal_projector.linear_2):
            layer.reset_parameters()
        language: Any = self.model.language_model.config
        if language._attn_implementation == "sdpa":
            language._attn_implementation = packed_attention.NAME

    def encode_images(self, pixel_values: Tensor, merging: TokenMerging | None = None) -> Tensor:
        """(F, 3, H, W) -> (F, tokens, hidden): what the projector receives, without the class token."""
        merging = merging or self.config.token_merging
        height, width = pixel_values.shape[-2:]
        removals = self.config.removals(height, width, merging)
        encoded = encode(self.model.vision_tower, pixel_values, removals, merging.proportional_attention)
        return encoded.hidden[:, 1:] if self.model.vision_tower.encoder.class_token else encoded.hidden

    def embed_frames(
        self,
        pixel_values: Tensor | None,
        media_lengths: Sequence[int],
        merging: TokenMerging | None = None,
        always_encode: bool = False,
    ) -> Tensor:
        """Visual tokens (N, C) as the language model reads them, of all frames in reading order.

        `always_encode` runs the tower once for each kind of frame (merged; with slow-fast, whole) that is not there,
        on a frame of one patch. What comes of it stands behind the N tokens, where nothing reads it.
        """
        merging = merging or self.config.token_merging
        is_whole_F = whole_frames(media_lengths, merging.slowfast)
        kinds = [(True, WHOLE), (False, merging)] if merging.slowfast else [(False, merging)]
        features: list[Tensor] = []
        surplus: list[Tensor] = []
        for kind, kind_merging in kinds:
            frames = [frame for frame, is_whole in enumerate(is_whole_F) if is_whole == kind]
            if frames and pixel_values is not None:
                pixels = pixel_values if len(frames) == len(is_whole_F) else pixel_values[frames]
                features.append(self.encode_images(pixels, kind_merging).flatten(0, 1))
            elif always_encode:
                surplus.append(self.encode_images(self._smallest_frame(), WHOLE).flatten(0, 1))
        visual_NC = self.model.multi_modal_projector(torch.cat(features + surplus))
        if len(features) == 2 and pixel_values is not None:
            height, width = pixel_values.shape[-2:]
            order_N = in_reading_order(is_whole_F, self.config.frame_tokens(height, width, merging))
            real_NC = visual_NC[: len(order_N)].index_select(0, order_N.to(visual_NC.device))
            visual_NC = torch.cat([real_NC, visual_NC[len(order_N) :]])
        return visual_NC

    def prepare_inputs(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        media_lengths: Tensor | Sequence[int] | None = None,
        labels: Tensor | None = None,
        *,
        merging: TokenMerging | None = None,
        pad_side: Literal["left", "right"] = "right",
    ) -> tuple[Tensor, Expanded]:
        """(B, T, C) what the language model reads, and the ids, mask, positions and labels that belong to it."""
        merging = merging or self.config.token_merging
        frames = 0 if pixel_values is None else len(pixel_values)
        lengths = media_of_rows(count_placeholders(input_ids, attention_mask), frames, _as_list(media_lengths))
        tokens_F: list[int] = []
        if pixel_values is not None:
            height, width = pixel_values.shape[-2:]
            merged, whole = self.config.frame_tokens(height, width, merging)
            tokens_F = frame_tokens(lengths, merged=merged, whole=whole, slowfast=merging.slowfast)
        expanded = expand_placeholders(input_ids, attention_mask, labels, tokens_of_frames=tokens_F, pad_side=pad_side)
        embeds_BTC = self.get_input_embeddings()(expanded.input_ids)
        if frames:
            embeds_BTC = splice(embeds_BTC, expanded.is_visual, self.embed_frames(pixel_values, lengths, merging))
        return embeds_BTC, expanded

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        media_lengths: Tensor | Sequence[int] | None = None,
        *,
        merging: TokenMerging | None = None,
        logits_to_keep: int = 0,
        expanded: bool = False,
        segment_ids: Tensor | None = None,
        num_items_in_batch: float | Tensor | None = None,
        always_encode: bool = False,
        **kwargs: Any,
    ) -> LlavaCausalLMOutputWithPast:
        """Logits, and with `labels` (aligned with `input_ids`; shifted here) the loss: the mean over taught tokens, or
        their sum over `num_items_in_batch`.

        `expanded` is the training loop's call: `input_ids` hold the image token at every place of a visual token,
        `segment_ids` (P, T) number the samples packed into a row (0: padding), and only the loss comes back.
        """
        if expanded:
            if input_ids is None or labels is None or segment_ids is None or position_ids is None:
                raise TypeError("forward(expanded=True) needs input_ids, position_ids, segment_ids and labels")
            lengths = _as_list(media_lengths) or []
            embeds_PTC = self._embed_expanded(input_ids, pixel_values, lengths, merging, always_encode)
            hidden_PTC = self._read_packed(embeds_PTC, position_ids, segment_ids)
            is_target_PT, targets_N = taught(labels)
            loss = self.lm_head(hidden_PTC[is_target_PT], targets_N)
            return LlavaCausalLMOutputWithPast(loss=_mean(loss, targets_N, num_items_in_batch))

        # transformers 5.24 renamed the cache (`past_key_values` before): it goes through under the name it came with.
        has_cache = kwargs.get("cache", kwargs.get("past_key_values")) is not None
        if inputs_embeds is None and not has_cache and input_ids is not None:
            inputs_embeds, rows = self.prepare_inputs(
                input_ids, attention_mask, pixel_values, media_lengths, labels, merging=merging
            )
            input_ids, labels = None, rows.labels
            attention_mask, position_ids = rows.attention_mask.long(), rows.position_ids
        kwargs.pop("return_dict", None)
        language_model: Any = self.model.language_model  # any AutoModel that takes embeddings: annotated as none
        outputs = language_model(
            input_ids=input_ids,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            **kwargs,
        )
        logits_BTV = self.lm_head(outputs.last_hidden_state[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            is_target_BT, targets_N = taught(labels)
            sum_loss = nn.functional.cross_entropy(logits_BTV[is_target_BT].float(), targets_N, reduction="sum")
            loss = _mean(sum_loss, targets_N, num_items_in_batch)
        rest = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        return LlavaCausalLMOutputWithPast(loss=loss, logits=logits_BTV, **rest)

    @torch.no_grad()
    def generate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        media_lengths: Tensor | Sequence[int] | None = None,
        *,
        merging: TokenMerging | None = None,
        **kwargs: Any,
    ) -> Any:
        """transformers' `generate` for images and videos: returns the new tokens alone, without the prompt."""
        embeds_BTC, rows = self.prepare_inputs(
            input_ids, attention_mask, pixel_values, media_lengths, merging=merging, pad_side="left"
        )
        model: Any = super()
        return model.generate(inputs_embeds=embeds_BTC, attention_mask=rows.attention_mask.long(), **kwargs)

    def part_parameters(self, part: Part) -> dict[str, nn.Parameter]:
        """Parameters of a part by name, but those that no output depends on (tower layers that never run)."""
        tower: Any = self.model.vision_tower
        unused = {f"model.vision_tower.{name}" for name, _ in unused_parameters(tower, self.config.tower_layers)}
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if name.startswith(PREFIXES[part]) and name not in unused
        }

    def checkpoint_activations(self, enabled: bool = True) -> None:
        """Compute activations a second time in the backward pass instead of keeping them; takes effect in training."""
        self._set_gradient_checkpointing(enabled, partial(checkpoint, use_reentrant=False))

    def _embed_expanded(
        self,
        input_ids_PT: Tensor,
        pixel_values: Tensor | None,
        media_lengths: list[int],
        merging: TokenMerging | None,
        always_encode: bool,
    ) -> Tensor:
        is_visual_PT = input_ids_PT == self.config.image_token_id
        # The image token may lie outside the vocabulary: the embedding table stays as the language model has it.
        embeds_PTC = self.get_input_embeddings()(input_ids_PT.masked_fill(is_visual_PT, 0))
        frames = 0 if pixel_values is None else len(pixel_values)
        if frames != sum(media_lengths):
            raise DataError(f"pixel_values has {frames} frames; media_lengths {media_lengths} has {sum(media_lengths)}")
        expected = 0
        if pixel_values is not None and frames:
            merging = merging or self.config.token_merging
            height, width = pixel_values.shape[-2:]
            merged, whole = self.config.frame_tokens(height, width, merging)
            expected = sum(frame_tokens(media_lengths, merged=merged, whole=whole, slowfast=merging.slowfast))
        places_P = is_visual_PT.sum(dim=1).tolist()
        if sum(places_P) != expected:
            raise DataError(
                f"the rows have {places_P} places for visual tokens, {sum(places_P)} in all; "
                f"their {frames} frames have {expected} tokens"
            )
        if not frames and not always_encode:
            return embeds_PTC
        visual_NC = self.embed_frames(pixel_values, media_lengths, merging, always_encode)
        return splice(embeds_PTC, is_visual_PT, visual_NC)

    def _read_packed(self, embeds_PTC: Tensor, position_ids_PT: Tensor, segment_ids_PT: Tensor) -> Tensor:
        language: Any = self.model.language_model
        extra: dict[str, Any] = {}
        mask: Tensor | None = None
        if language.config._attn_implementation == packed_attention.NAME and not _slides(language.config):
            extra["segments"] = packed_attention.segments_of(segment_ids_PT)
            # A mask of four dimensions is handed through as it is: none as large as the row squared gets built.
            mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=embeds_PTC.device)
        # Without segments, transformers finds the samples itself where the positions start again.
        outputs = language(
            inputs_embeds=embeds_PTC, attention_mask=mask, position_ids=position_ids_PT, use_cache=False, **extra
        )
        return outputs.last_hidden_state

    def _smallest_frame(self) -> Tensor:
        side = self.model.vision_tower.config.patch_size
        return torch.zeros(1, 3, side, side, device=self.device)


def _slides(config: Any) -> bool:
    """Whether a layer attends within a window, which only transformers' own masks know of."""
    return any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()) or (
        not getattr(config, "layer_types", None) and getattr(config, "sliding_window", None) is not None
    )


def _as_list(media_lengths: Tensor | Sequence[int] | None) -> list[int] | None:
    if media_lengths is None:
        return None
    return media_lengths.tolist() if isinstance(media_lengths, Tensor) else list(media_lengths)


def _mean(loss_sum: Tensor, targets_N: Tensor, num_items: float | Tensor | None) -> Any:
    return loss_sum / (max(1, len(targets_N)) if num_items is None else num_items)


_register_names_on_disk(AuroraCap)
