"""A captioner in memory from any folder that holds one: `aurora_cli.load_model`."""

from pathlib import Path

import torch
from torch import nn
from transformers import AutoModel, GenerationConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import HostError, UsageError
from aurora_cli.models.assign import Assign, assign_whole, values_of
from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig
from aurora_cli.models.parts import Part
from aurora_cli.models.towers.frame_tokens import FrameTokens
from aurora_cli.models.vision_encoder import install_merging

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    path: str | Path,
    token_merging: TokenMerging | None = None,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
) -> AuroraCap:
    """Load a captioner from an xtuner, huggingface or official folder, a run or a checkpoint, or a hub id.

    Example:
        import torch
        import aurora_cli

        model = aurora_cli.load_model("export/huggingface", token_merging=aurora_cli.TokenMerging(kept_ratio=0.5))
        print(model.encode_images(torch.zeros(1, 3, 56, 56)).shape)  # (images, tokens, hidden)

    Args:
        path: the folder, or a repository on the hub.
        token_merging: how visual tokens merge; none: as stored with the weights, and as the original did where nothing
            is stored (schedule `constant`, no proportional attention, nothing merged).
        dtype: of the weights in memory: `float32`, `bfloat16`, `float16`.
        device: `cpu`, `cuda`, `cuda:1`, or `auto` for CUDA where there is one.

    Raises:
        DataError: the folder is damaged, or a weight is missing, unexpected, of the wrong shape or not finite.
    """
    return build_model(open_checkpoint(path), token_merging, dtype, device)


def build_model(
    checkpoint: OpenedCheckpoint,
    token_merging: TokenMerging | None = None,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
    fresh: frozenset[Part] = frozenset(),
    assign: Assign = assign_whole,
) -> AuroraCap:
    """The captioner of an opened checkpoint. A part in `fresh` that the checkpoint lacks is made at random.

    `assign` is given each weight, which holds nothing yet, and its values: a process may take its share of them.

    Raises:
        DataError: as `load_model`.
    """
    config = config_of(checkpoint, token_merging)
    lacking = fresh - {names.part_of(name) for name in checkpoint.tensors}
    checkpoint.check(may_lack=lacking)
    with no_init_weights(), torch.device(resolve_device(device)):
        model = AuroraCap._from_config(config, dtype=resolve_dtype(dtype))
    model.tie_weights()
    _fill(model, checkpoint, assign=assign)
    for part in lacking:
        _make_at_random(model, part, assign)
    model.generation_config = _generation_config(checkpoint, config)
    return model.eval()


def build_tower(
    checkpoint: OpenedCheckpoint,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
    fresh: frozenset[Part] = frozenset(),
) -> PreTrainedModel:
    """The vision tower alone, with merging installed: of the others nothing is read, and those in `fresh` may lack.

    Raises:
        DataError: as `load_model`.
    """
    config = config_of(checkpoint)
    checkpoint.check(may_lack=fresh)
    with no_init_weights(), torch.device(resolve_device(device)):
        tower = AutoModel.from_config(config.vision_config, dtype=resolve_dtype(dtype))
        install_merging(tower)
    _fill(tower, checkpoint, names.VISION)
    return tower.eval()


def build_frame_tokens(checkpoint: OpenedCheckpoint) -> FrameTokens:
    """Tower and projector alone, in float32, for frames of the checkpoint's size that merge as it says; the language
    model's weights may lack.

    Raises:
        DataError: as `load_model`.
    """
    config, side, merging = config_of(checkpoint), checkpoint.model.image_size, checkpoint.merging
    tower = build_tower(checkpoint, fresh=frozenset[Part]({"language_model"}))
    projector = LlavaMultiModalProjector(config)
    _fill(projector, checkpoint, names.PROJECTOR)
    return FrameTokens(tower, projector, config.removals(side, side, merging), merging.proportional_attention).eval()


def config_of(checkpoint: OpenedCheckpoint, token_merging: TokenMerging | None = None) -> AuroraCapConfig:
    """The checkpoint's config with the merging that is requested, else the stored one."""
    merging = token_merging or checkpoint.merging
    values = checkpoint.config.to_dict() | {
        "merging": merging.model_dump(),
        "image_size": checkpoint.model.image_size,
        "architectures": [AuroraCap.__name__],
    }
    return AuroraCapConfig.from_dict(values)


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise UsageError(f"dtype: {dtype!r} is none of {', '.join(DTYPES)}")
    return DTYPES[dtype]


def resolve_device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"device: {device!r} is not a device; auto, cpu, cuda or cuda:1 were expected") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"device: {device!r} is not there: PyTorch sees no CUDA device", hint="Leave it out, or say cpu."
        )
    return resolved


def spread(model: AuroraCap, device_map: str) -> AuroraCap:
    """Put the model's layers on all devices that there are, by accelerate: `auto`, `balanced` or `sequential`.

    Raises:
        HostError: they do not hold it.
    """
    from accelerate import dispatch_model, infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    whole = [*(model._no_split_modules or ()), type(model.model.vision_tower).__name__]
    room = None
    if device_map != "sequential":
        room = get_balanced_memory(model, no_split_module_classes=whole, low_zero=False)
    plan = infer_auto_device_map(model, max_memory=room, no_split_module_classes=whole)
    if "disk" in plan.values():
        raise HostError("the devices and this machine's memory do not hold the model together")
    return dispatch_model(model, plan)  # pyrefly: ignore[bad-argument-type, bad-return] - it is the model it was given


@torch.no_grad()
def _fill(module: nn.Module, checkpoint: OpenedCheckpoint, prefix: str = "", assign: Assign = assign_whole) -> None:
    """One tensor after the other, so that no more than one is there twice."""
    for own_name, weight in module.state_dict(keep_vars=True).items():
        name = names.canonical(prefix + own_name)
        if name in checkpoint.tensors:
            assign(weight, checkpoint.tensors[name].between)


@torch.no_grad()
def _make_at_random(model: AuroraCap, part: Part, assign: Assign) -> None:
    """Linear layers as PyTorch makes them, which is what the original's new projector is."""
    for own_name, module in model.named_modules():
        name = names.canonical(f"{own_name}.weight")
        if isinstance(module, nn.Linear) and name is not None and names.part_of(name) == part:
            made = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
            for key, parameter in module.named_parameters():
                assign(parameter, values_of(made.get_parameter(key)))


def _generation_config(checkpoint: OpenedCheckpoint, config: AuroraCapConfig) -> GenerationConfig:
    for folder in (checkpoint.path, checkpoint.path / "llm"):
        if (folder / "generation_config.json").is_file():
            stored = GenerationConfig.from_pretrained(folder)
            # Sampling settings without sampling (Vicuna's folder has them) make every generate warn.
            return stored if stored.do_sample else GenerationConfig(**_token_ids(stored.to_dict()))
    return GenerationConfig(**_token_ids(config.get_text_config().to_dict()))


def _token_ids(values: dict[str, object]) -> dict[str, object]:
    keys = ("bos_token_id", "eos_token_id", "pad_token_id", "suppress_tokens")
    return {key: values[key] for key in keys if values.get(key) is not None}
