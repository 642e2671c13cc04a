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
from aurora_cli.models import packed_attention
from aurora_cli.models.config import AuroraCapConfig
from aurora_cli.models.layers.lean import use_lean_layers
from aurora_cli.models.layers.lm_head import LMHead, TeacherStates, label_mask, mean_loss
from aurora_cli.models.multimodal_inputs import (
    Expanded,
    count_placeholders,
    expand_placeholders,
    media_of_rows,
    splice,
)
from aurora_cli.models.packed_rows import PackedRows, packed_loss, target_states
from aurora_cli.models.parts import PREFIXES, Part
from aurora_cli.models.towers.frame_tokens import FrameTokens
from aurora_cli.models.towers.kinds import has_class_token
from aurora_cli.models.vision_encoder import install_merging, unused_parameters
from aurora_cli.models.visual_tokens import embed_frames, encode_frames, tokens_per_frame

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

    config: AuroraCapConfig  # pyrefly: ignore[bad-override-mutable-attribute]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _register_names_on_disk(cls)

    def __init__(self, config: AuroraCapConfig) -> None:
        # What the tower has decides, not LLaVA's default, by which plain transformers would cut a patch off of SigLIP.
        vision: Any = config.vision_config
        config.vision_feature_select_strategy = "default" if has_class_token(vision.model_type) else "full"
        super(LlavaForConditionalGeneration, self).__init__(config)
        self.model = LlavaModel(config)
        install_merging(self.model.vision_tower)
        use_lean_layers(self.model)
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
        return encode_frames(self.model, self.config, pixel_values, merging or self.config.token_merging)

    def frame_tokens(self, merging: TokenMerging | None = None, side: int | None = None) -> FrameTokens:
        """Tower and projector as a module that `torch.compile` and `torch.export` take whole; it shares the weights.
        Frames have `side` pixels; none: the config's."""
        vision: Any = self.config.vision_config
        side = side or self.config.image_size or int(vision.image_size)
        merging = merging or self.config.token_merging
        removals = self.config.removals(side, side, merging)
        tower, projector = self.model.vision_tower, self.model.multi_modal_projector
        return FrameTokens(tower, projector, removals, merging.proportional_attention)

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
        lengths = media_of_rows(count_placeholders(input_ids, attention_mask), frames, media_lengths)
        tokens_F = tokens_per_frame(self.config, pixel_values, lengths, merging)
        expanded = expand_placeholders(input_ids, attention_mask, labels, tokens_of_frames=tokens_F, pad_side=pad_side)
        embeds_BTC = self.get_input_embeddings()(expanded.input_ids)
        if frames:
            visual_NC = embed_frames(self.model, self.config, pixel_values, lengths, merging)
            embeds_BTC = splice(embeds_BTC, expanded.is_visual, visual_NC)
        return embeds_BTC, expanded

    def forward(
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
        num_items_in_batch: float | Tensor | None = None,
        packed: PackedRows | None = None,
        always_encode: bool = False,
        teacher: TeacherStates | None = None,
        states_only: bool = False,
        **kwargs: Any,
    ) -> LlavaCausalLMOutputWithPast:
        """Logits, and with `labels` (aligned with `input_ids`; shifted here) the loss: the mean over the target tokens,
        or their sum over `num_items_in_batch`.

        With `packed` it is `packed_loss`, or with `states_only` `target_states`, whose output comes back: DDP and
        DeepSpeed enter a network by this door alone.
        """
        if packed is not None:
            merging = merging or self.config.token_merging
            if states_only:
                states: Any = target_states(self, packed, merging, always_encode=always_encode)
                return states
            how = {"always_encode": always_encode, "teacher": teacher}
            output: Any = packed_loss(self, packed, merging, num_items_in_batch, **how)
            return output

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
        loss: Any = None
        if labels is not None:
            is_target_BT, targets_N = label_mask(labels)
            loss_sum = nn.functional.cross_entropy(logits_BTV[is_target_BT].float(), targets_N, reduction="sum")
            loss = mean_loss(loss_sum, targets_N, num_items_in_batch)
        rest = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        return LlavaCausalLMOutputWithPast(loss=loss, logits=logits_BTV, **rest)

    @torch.no_grad()
    def generate(
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


_register_names_on_disk(AuroraCap)
