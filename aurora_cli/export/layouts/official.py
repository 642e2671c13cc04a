"""haotian-liu's LLaVA: one causal language model whose weights include the projector and the vision tower.

Its loader makes the tower from `mm_vision_tower`, a hub id or folder, and then loads the tower's weights from here. A
tower that started at random has no such name: it is written out in `vision_tower/`.
"""

from pathlib import Path

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.lazy_tensors import rename
from aurora_cli.export.layouts.common import (
    ExportJob,
    dtype_name,
    generation_ids,
    tensors_of,
    text_config,
    vision_config,
)
from aurora_cli.export.layouts.xtuner import write_vision_config
from aurora_cli.export.tokenizer import copy_tokenizer
from aurora_cli.io.atomic import write_json
from aurora_cli.io.json_files import JsonObject

TOWER_FOLDER = "vision_tower"
_TOWERS_READ = ("clip_vision_model", "siglip_vision_model")
"""Kinds that programs of this layout make a tower of."""
_ARCHITECTURES = {"llama": "LlavaLlamaForCausalLM", "mistral": "LlavaMistralForCausalLM"}


def write(job: ExportJob, folder: Path) -> list[str]:
    """Write the folder; the notes say what a user should know of it."""
    tensors = job.tensors
    job.write(folder, rename(tensors, names.official))
    notes: list[str] = []
    tower = job.checkpoint.model.vision_tower
    if job.checkpoint.model.vision_config is not None or not tower:
        tower = TOWER_FOLDER
        job.write(
            folder / TOWER_FOLDER, rename(tensors_of(tensors, "vision_tower"), lambda name: names.xtuner(name)[1])
        )
        write_vision_config(job, folder / TOWER_FOLDER, dtype_name(tensors))
        notes.append(
            f"no hub has this vision tower: put the path of {TOWER_FOLDER}/ into config.json's mm_vision_tower"
        )
    if (kind := vision_config(job.checkpoint)["model_type"]) not in _TOWERS_READ:
        notes.append(f"haotian-liu's LLaVA makes CLIP towers, and its offspring SigLIP's: no {kind}; aurora reads it")
    write_json(folder / "config.json", _config(job, tower, dtype_name(tensors)))
    write_json(folder / "generation_config.json", generation_ids(job))
    if job.tokenizer_folder is None:
        return [*notes, "no tokenizer is known for this model: the export has none"]
    copy_tokenizer(job.tokenizer_folder, folder)
    return notes


def _config(job: ExportJob, tower: str, dtype: str) -> JsonObject:
    checkpoint = job.checkpoint
    text = text_config(checkpoint)
    return text | {
        "architectures": [_ARCHITECTURES.get(text["model_type"], "LlavaLlamaForCausalLM")],
        "model_type": "llava_llama" if text["model_type"] == "llama" else f"llava_{text['model_type']}",
        "text_model_type": text["model_type"],
        "vision_config": vision_config(checkpoint),
        "mm_vision_tower": tower,
        "mm_hidden_size": vision_config(checkpoint)["hidden_size"],
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": checkpoint.model.feature_layer,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "unfreeze_mm_vision_tower": True,
        "use_mm_proj": True,
        "image_aspect_ratio": "pad",
        "tokenizer_padding_side": "right",
        "dtype": dtype,
    }
