"""transformers' LLaVA: plain transformers loads the folder; with `trust_remote_code=True` its tokens merge.

config.json, generation_config.json, model*.safetensors     names as LLaVA has them on disk
tokenizer.json, tokenizer_config.json, chat_template.jinja  with <image> and a padding token
preprocessor_config.json, processor_config.json             images padded to a square as in training
modeling_aurora.py, processing_aurora.py                    the merging model in one file; needs only transformers
modeling_llava.py                                           the same model under the name of LLaVA's own class
"""

from pathlib import Path

from aurora_cli.constants import IMAGE
from aurora_cli.export.layouts.common import (
    ExportJob,
    dtype_name,
    image_processor_config,
    one_or_all,
    text_config,
    token_ids,
    vision_config,
)
from aurora_cli.export.remote.bundle import MODELING, SERVED, modeling_source, processing_source, served_source
from aurora_cli.export.tokenizer import ExportTokenizer, export_tokenizer, write_chat_template, write_tokenizer
from aurora_cli.export.vocabulary import grow, padded_rows
from aurora_cli.io.atomic import write_json, write_text
from aurora_cli.io.json_files import JsonObject
from aurora_cli.models.towers.kinds import has_class_token

MODEL_CLASS = "LlavaForConditionalGeneration"
REMOTE_CLASSES = {
    "AutoConfig": f"{MODELING}.AuroraCapConfig",
    "AutoModelForImageTextToText": f"{MODELING}.AuroraCapForImageTextToText",
    "AutoModelForMultimodalLM": f"{SERVED}.LlavaForConditionalGeneration",
}
REMOTE_PROCESSOR = {"AutoProcessor": "processing_aurora.AuroraProcessor"}


def write(job: ExportJob, folder: Path) -> list[str]:
    """Write the folder; the notes say what a user should know of it."""
    checkpoint = job.checkpoint
    tokenizer = export_tokenizer(job.tokenizer_folder, job.template) if job.tokenizer_folder else None
    text = text_config(checkpoint)
    known_rows = int(text["vocab_size"])
    rows = padded_rows(known_rows, tokenizer.size if tokenizer else known_rows + 1)
    image_id = tokenizer.image_id if tokenizer else known_rows
    tensors = job.cast(grow(job.checkpoint.tensors, rows))
    job.write(folder, tensors)
    text |= {"vocab_size": rows, "dtype": dtype_name(tensors)}
    if tokenizer is not None:
        text["pad_token_id"] = tokenizer.pad_id
    write_json(folder / "config.json", _config(job, text, image_id, dtype_name(tensors)))
    write_json(folder / "generation_config.json", _generation(text, tokenizer, image_id, rows))
    write_json(folder / "preprocessor_config.json", _image_processor(job))
    write_text(folder / f"{MODELING}.py", modeling_source())
    write_text(folder / f"{SERVED}.py", served_source())
    if tokenizer is None:
        lacking = "no tokenizer is known for this model, so AutoProcessor cannot load the export"
        return [f"{lacking}: --set model.tokenizer=DIR"]
    write_tokenizer(tokenizer, folder)
    write_chat_template(job.template, tokenizer, folder)
    write_json(folder / "processor_config.json", _processor(job))
    write_text(folder / "processing_aurora.py", processing_source())
    return [*_notes_on_answers(tokenizer), *_notes_on_rows(tokenizer, known_rows)]


def _notes_on_answers(tokenizer: ExportTokenizer) -> list[str]:
    return [
        f"an earlier answer of a chat that begins like {answer!r} has other ids in the export than in training: "
        "the tokenizer joins it to what its chat template writes in front"
        for answer in tokenizer.unlike
    ]


def _notes_on_rows(tokenizer: ExportTokenizer, known_rows: int) -> list[str]:
    if tokenizer.size - 2 <= known_rows:
        return []
    return [
        f"the tokenizer has {tokenizer.size - 2:,} ids and the embedding {known_rows:,} rows: the rest is untrained"
    ]


def _config(job: ExportJob, text: JsonObject, image_id: int, dtype: str) -> JsonObject:
    checkpoint = job.checkpoint
    config = checkpoint.config.to_dict() | {
        "architectures": [MODEL_CLASS],
        "model_type": "llava",
        "auto_map": REMOTE_CLASSES,
        "vision_config": vision_config(checkpoint),
        "text_config": text,
        "image_token_index": image_id,
        "image_seq_length": (checkpoint.model.image_size // vision_config(checkpoint)["patch_size"]) ** 2,
        "pad_token_id": text.get("pad_token_id"),
        "merging": checkpoint.merging.model_dump(),
        "image_size": checkpoint.model.image_size,
        "dtype": dtype,
    }
    for name in ("image_token_id", "_name_or_path", "trained_ratios"):
        config.pop(name, None)
    if checkpoint.trained_ratios:  # of which the carried code warns
        config["trained_ratios"] = [*checkpoint.trained_ratios]
    return config


def _generation(text: JsonObject, tokenizer: ExportTokenizer | None, image_id: int, rows: int) -> JsonObject:
    """Greedy; what stands for images, and rows that no token uses, are never generated."""
    ids = token_ids(text)
    used = tokenizer.size if tokenizer else image_id
    never = {image_id, *range(used, rows)}
    if tokenizer is not None:
        known = {"bos_token": tokenizer.bos_token, "pad_token": tokenizer.pad_token}
        ids |= {f"{key}_id": tokenizer.id_of(token) for key, token in known.items() if token}
        ids["eos_token_id"] = one_or_all(tokenizer.end_ids)
        never = (never | {tokenizer.pad_id}) - {*tokenizer.end_ids}
    return {**ids, "do_sample": False, "suppress_tokens": sorted(never)}


def _image_processor(job: ExportJob) -> JsonObject:
    """LLaVA's image processor, which pads to a square with the mean colour before it resizes."""
    model = job.checkpoint.model
    return {
        **image_processor_config(model),
        "image_processor_type": "LlavaImageProcessor",
        "processor_class": "LlavaProcessor",
        "do_pad": True,
        "size": {"height": model.image_size, "width": model.image_size},
        "do_center_crop": False,
    }


def _processor(job: ExportJob) -> JsonObject:
    vision = vision_config(job.checkpoint)
    return {
        "processor_class": "LlavaProcessor",
        "auto_map": REMOTE_PROCESSOR,
        "image_token": IMAGE,
        "patch_size": vision["patch_size"],
        "vision_feature_select_strategy": job.checkpoint.config.vision_feature_select_strategy,
        "num_additional_image_tokens": int(has_class_token(vision["model_type"])),
    }
