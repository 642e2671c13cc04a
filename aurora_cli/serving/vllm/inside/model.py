"""The model that vLLM serves: our tower, which merges, and projector; and a language model of vLLM's.

Under tensor parallelism every rank has all of the tower and the projector, and its share of the language model: which
tokens merge is decided by keys of all heads. Shapes: F frames, S side, N visual tokens, C channels, L layers that run.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel
from transformers.initialization import no_init_weights
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector
from vllm.model_executor.models.interfaces import SupportsMultiModal, SupportsPP
from vllm.model_executor.models.utils import init_vllm_registered_model, maybe_prefix
from vllm.multimodal import MULTIMODAL_REGISTRY

from aurora_cli.checkpoints import names
from aurora_cli.constants import IMAGE
from aurora_cli.models.vision_encoder import encode, install_merging
from aurora_cli.serving.vllm.inside.processor import AuroraDummyInputs, AuroraInfo, AuroraProcessor
from aurora_cli.serving.vllm.served import MediumPlan

FRAMES_AT_ONCE = 32
"""Through the tower: vLLM bounds the tokens behind it, not the patches in it."""


@MULTIMODAL_REGISTRY.register_processor(AuroraProcessor, info=AuroraInfo, dummy_inputs=AuroraDummyInputs)
class AuroraCapForVLLM(nn.Module, SupportsMultiModal, SupportsPP):
    """An export of layout `huggingface`."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        model_config = vllm_config.model_config
        self.config = config = model_config.hf_config
        self.proportional = config.token_merging.proportional_attention
        self.configure_mm_token_handling(config.text_config.vocab_size, [config.image_token_index])
        with self._mark_tower_model(vllm_config, {"image", "video"}), no_init_weights():
            self.vision_tower = AutoModel.from_config(config.vision_config, dtype=torch.get_default_dtype())
            install_merging(self.vision_tower)
            self.multi_modal_projector = LlavaMultiModalProjector(config)
        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config, hf_config=config.text_config, prefix=maybe_prefix(prefix, "language_model")
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors
        stated = (model_config.try_get_generation_config() or {}).get("suppress_tokens") or []
        never = [token for token in stated if token < config.text_config.vocab_size]
        self.register_buffer("never", torch.tensor(never, dtype=torch.long), persistent=False)

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str:
        """What vLLM writes into a message's text where a chat template takes texts alone."""
        return IMAGE

    def embed_multimodal(self, **kwargs: Any) -> list[Tensor]:
        """(N, C) for each medium."""
        media: list[Tensor] = []
        plans: list[MediumPlan] = []
        for kind in ("image", "video"):
            media += kwargs.get(f"{kind}_pixels", ())
            plans += [MediumPlan.of_numbers(plan.tolist()) for plan in kwargs.get(f"{kind}_plan", ())]
        return self._embed(media, plans)

    def _embed(self, media_F3SS: Sequence[Tensor], plans: Sequence[MediumPlan]) -> list[Tensor]:
        """Frames of equal plans go through the tower together, whosever they are."""
        alike: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for medium, (frames, plan) in enumerate(zip(media_F3SS, plans, strict=True)):
            for frame in range(len(frames)):
                alike.setdefault(plan.removals_of(frame), []).append((medium, frame))
        embedded: dict[tuple[int, int], Tensor] = {}
        for removals, frames_alike in alike.items():
            for first in range(0, len(frames_alike), FRAMES_AT_ONCE):
                some = frames_alike[first : first + FRAMES_AT_ONCE]
                pixels_F3SS = torch.stack([media_F3SS[medium][frame] for medium, frame in some])
                embedded |= zip(some, self._encode(pixels_F3SS, removals), strict=True)
        return [
            torch.cat([embedded[medium, frame] for frame in range(len(frames))])
            for medium, frames in enumerate(media_F3SS)
        ]

    def _encode(self, pixels_F3SS: Tensor, removals: tuple[int, ...]) -> Tensor:
        encoded = encode(self.vision_tower, pixels_F3SS, removals, self.proportional)
        hidden_FNC = encoded.hidden[:, 1:] if self.vision_tower.encoder.class_token else encoded.hidden
        return self.multi_modal_projector(hidden_FNC)

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """What is never written (rows that no token has, marks of images) is ruled out, which vLLM reads nowhere."""
        logits = self.language_model.compute_logits(hidden_states)
        return logits if logits is None else logits.index_fill(-1, self.never, -torch.inf)

    @torch.no_grad()
    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """By the names of any age that LLaVA's weights have had."""
        own = {
            names.canonical(f"{part}.{name}"): (f"{part}.{name}", parameter)
            for part in ("vision_tower", "multi_modal_projector")
            for name, parameter in getattr(self, part).named_parameters()
        }
        loaded: set[str] = set()

        def of_language_model() -> Iterator[tuple[str, Tensor]]:
            for stored, tensor in weights:
                name = names.canonical(stored)
                if name in own:
                    own_name, parameter = own[name]
                    parameter.copy_(tensor)
                    loaded.add(own_name)
                elif name is not None and name.startswith(names.LANGUAGE):
                    yield name.removeprefix(names.LANGUAGE), tensor

        of_language = self.language_model.load_weights(of_language_model())
        return loaded | {f"language_model.{name}" for name in of_language}
