"""What the same weight is called in other programs: pure mappings of names, both ways.

Our own name for a weight is the one that LLaVA has on disk in transformers:

    vision_tower.vision_model.*   multi_modal_projector.linear_1|2.*   language_model.model.*   language_model.lm_head.*

(`vision_tower.*` of DINOv2.)
`canonical` reads every spelling that is in use: transformers 4.x and 5.x in memory and on disk, the original's training
state dict (`llm.`, `visual_encoder.`, `projector.`), haotian-liu's LLaVA. `xtuner` and `official` go the other way.
"""

import re

from aurora_cli.models.parts import Part

VISION = "vision_tower."
PROJECTOR = "multi_modal_projector."
LANGUAGE = "language_model."
EMBEDDING = "language_model.model.embed_tokens.weight"
HEAD = "language_model.lm_head.weight"

_OF_TOWER = r"^(?:model\.)?(?:vision_tower\.|visual_encoder\.){1,2}(?:vision_model\.|dinov2\.)?"
_DINO = re.compile(
    _OF_TOWER + r"(?=encoder\.layer\.|layernorm\.|embeddings\.(?:cls_|mask_|position_embeddings|patch_embeddings))"
)
"""Before names that no CLIP and no SigLIP has."""
_DINO_ON_DISK = {
    ".attention.q_proj": ".attention.attention.query",
    ".attention.k_proj": ".attention.attention.key",
    ".attention.v_proj": ".attention.attention.value",
    ".attention.o_proj": ".attention.output.dense",
}
"""From transformers 5.24 on these differ from those in memory."""

# Tried in this order: the first that fits decides.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (_OF_TOWER, f"{VISION}vision_model."),
        (r"^(?:model\.)?multi_modal_projector\.", PROJECTOR),
        (r"^projector\.model\.0\.|^model\.mm_projector\.0\.", f"{PROJECTOR}linear_1."),
        (r"^projector\.model\.2\.|^model\.mm_projector\.2\.", f"{PROJECTOR}linear_2."),
        (r"^(?:language_model\.|llm\.)lm_head\.|^lm_head\.", f"{LANGUAGE}lm_head."),
        (r"^(?:model\.language_model\.|language_model\.|llm\.)(?:model\.)?", f"{LANGUAGE}model."),
        (r"^model\.", f"{LANGUAGE}model."),
    )
)

# Derived values that older programs stored: two are recomputed, the third is the position embedding once more.
_DERIVED = re.compile(r"(\.position_ids|\.rotary_emb\.inv_freq|^(?:module\.)?visual_encoder\.pos_emb)$")


def canonical(name: str) -> str | None:
    """Our name for a weight; None if it holds nothing of its own; as it is if nothing is known about it.

    >>> canonical("visual_encoder.vision_model.post_layernorm.bias")
    'vision_tower.vision_model.post_layernorm.bias'
    >>> {canonical(name) for name in ("model.language_model.norm.weight", "llm.model.norm.weight", "model.norm.weight")}
    {'language_model.model.norm.weight'}
    >>> canonical("visual_encoder.pos_emb") is None
    True
    >>> canonical("model.vision_tower.encoder.layer.0.attention.q_proj.bias")
    'vision_tower.encoder.layer.0.attention.attention.query.bias'
    """
    if _DERIVED.search(name):
        return None
    name = name.removeprefix("module.")
    if dino := _DINO.match(name):
        return VISION + _dino_on_disk(name[dino.end() :])
    for pattern, replacement in _RULES:
        match = pattern.match(name)
        if match:
            return replacement + name[match.end() :]
    return name


def _dino_on_disk(name: str) -> str:
    for in_memory, on_disk in _DINO_ON_DISK.items():
        name = name.replace(f"{in_memory}.", f"{on_disk}.")
    return name


def part_of(name: str) -> Part:
    """Which part of the network a canonical name belongs to."""
    if name.startswith(VISION):
        return "vision_tower"
    if name.startswith(PROJECTOR):
        return "projector"
    return "language_model"


def xtuner(name: str) -> tuple[str, str]:
    """The folder ("" is the root) and the name of a canonical name in the original's layout.

    >>> xtuner("multi_modal_projector.linear_2.bias")
    ('projector', 'model.2.bias')
    >>> xtuner("language_model.lm_head.weight")
    ('', 'lm_head.weight')
    """
    part = part_of(name)
    if part == "vision_tower":
        return "visual_encoder", name.removeprefix("vision_tower.")
    if part == "projector":
        return "projector", "model." + _sequential(name)
    return "", name.removeprefix(LANGUAGE)


def official(name: str) -> str:
    """The name of a canonical name in haotian-liu's LLaVA.

    >>> official("vision_tower.vision_model.post_layernorm.bias")
    'model.vision_tower.vision_tower.vision_model.post_layernorm.bias'
    """
    part = part_of(name)
    if part == "vision_tower":
        return "model.vision_tower." + name
    if part == "projector":
        return "model.mm_projector." + _sequential(name)
    return name.removeprefix(LANGUAGE)


def _sequential(name: str) -> str:
    """`linear_1` and `linear_2` by their index in a sequence with the activation between them."""
    return name.removeprefix(PROJECTOR).replace("linear_1.", "0.", 1).replace("linear_2.", "2.", 1)
