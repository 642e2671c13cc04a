"""The original's layout: the language model at the root, `visual_encoder/` and `projector/` as folders of their own.

Each is a model of its own for `from_pretrained`; the projector brings its class, as the original's does.

To a server the root looks like a language model: vLLM loads it without a word, and no image is ever seen. Servers and
converters go by `architectures`, where this layout has a name that none of them knows; transformers, and so the
original, goes by `model_type`.
"""

from importlib.resources import files
from pathlib import Path

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.lazy_tensors import rename
from aurora_cli.export.layouts.common import (
    ExportJob,
    dtype_name,
    generation_ids,
    image_processor_config,
    tensors_of,
    text_config,
    vision_config,
)
from aurora_cli.export.tokenizer import copy_tokenizer
from aurora_cli.io.atomic import write_json, write_text
from aurora_cli.models.parts import PARTS
from aurora_cli.models.towers.kinds import kind_named

ROOT_CLASS = "AuroraCapLanguageModelPart"
"""What is at the root, for those who would take it for the whole."""
_PROJECTOR_FILES = ("configuration_projector.py", "modeling_projector.py")


def write(job: ExportJob, folder: Path) -> list[str]:
    """Write the folder; the notes say what a user should know of it."""
    tensors = job.tensors
    dtype = dtype_name(tensors)
    for part in PARTS:
        own = tensors_of(tensors, part)
        subfolder, _ = names.xtuner(next(iter(own)))
        job.write(folder / subfolder, rename(own, lambda name: names.xtuner(name)[1]))
    text = text_config(job.checkpoint) | {"architectures": [ROOT_CLASS], "dtype": dtype}
    write_json(folder / "config.json", text)
    write_json(folder / "generation_config.json", generation_ids(job))
    write_vision_config(job, folder / "visual_encoder", dtype)
    _write_projector_config(job, folder / "projector", dtype)
    if job.tokenizer_folder is None:
        return ["no tokenizer is known for this model: the export has none"]
    copy_tokenizer(job.tokenizer_folder, folder)
    return []


def write_vision_config(job: ExportJob, folder: Path, dtype: str) -> None:
    """A vision tower's config and image processor, as transformers loads them alone."""
    vision = vision_config(job.checkpoint)
    architecture = kind_named(vision["model_type"]).model_class
    folder.mkdir(exist_ok=True)
    write_json(folder / "config.json", vision | {"architectures": [architecture], "dtype": dtype})
    write_json(folder / "preprocessor_config.json", image_processor_config(job.checkpoint.model))


def _write_projector_config(job: ExportJob, folder: Path, dtype: str) -> None:
    config = job.checkpoint.config
    values = {
        "architectures": ["ProjectorModel"],
        "auto_map": {
            "AutoConfig": "configuration_projector.ProjectorConfig",
            "AutoModel": "modeling_projector.ProjectorModel",
        },
        "model_type": "projector",
        "visual_hidden_size": vision_config(job.checkpoint)["hidden_size"],
        "llm_hidden_size": text_config(job.checkpoint)["hidden_size"],
        "depth": 2,
        "hidden_act": config.projector_hidden_act,
        "bias": config.multimodal_projector_bias,
        "dtype": dtype,
    }
    write_json(folder / "config.json", values)
    for name in _PROJECTOR_FILES:
        write_text(folder / name, files("aurora_cli.export.remote").joinpath(name).read_text(encoding="utf-8"))
