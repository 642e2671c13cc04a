"""llama.cpp's files: a language model with its tokenizer, and the tower with its projector.

model-<quantization>.gguf   the language model, its tokenizer and its chat template
mmproj-f16.gguf             what makes embeddings of images: `--mmproj` of llama.cpp's programs
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.loading import config_of
from aurora_cli.config.using import Quantization
from aurora_cli.data.tokenization.boundaries import with_our_templates
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.errors import UsageError
from aurora_cli.export.layouts.common import ExportJob
from aurora_cli.export.llama_cpp import language_model, vision
from aurora_cli.export.llama_cpp.chat import chat_template
from aurora_cli.export.llama_cpp.files import FILE_TYPES, Metadata, TensorType, require_gguf, write_file
from aurora_cli.export.llama_cpp.quantize import check_quantizer, quantize
from aurora_cli.export.llama_cpp.vocabulary import vocabulary_of, written_rows
from aurora_cli.export.tokenizer import export_tokenizer
from aurora_cli.models.merge_plan import WHOLE

PROJECTOR_FILE = "mmproj-f16.gguf"
_WRITTEN: dict[Quantization, TensorType] = {"f16": "F16", "q8_0": "Q8_0", "q4_k_m": "F16"}
"""What is written here; `q4_k_m` is made of halves by llama.cpp itself."""


def model_file(quantization: Quantization) -> str:
    return f"model-{quantization}.gguf"


def write(job: ExportJob, folder: Path) -> list[str]:
    """Write both files; the notes say what a user should know of them.

    Raises:
        UsageError: llama.cpp computes no such captioner.
        HostError: the package `gguf` is missing, or what quantizes to 4 bits.
    """
    quantization = job.quantization or "f16"
    require_gguf("--format gguf")
    if quantization == "q4_k_m":
        check_quantizer()
    checkpoint = job.checkpoint
    config: Any = checkpoint.config
    language_model.architecture_of(config.text_config)
    vision.check_vision(config)
    tokenizer = _tokenizer(job)
    kind = _WRITTEN[quantization]
    arch = language_model.architecture_of(config.text_config).name
    metadata: Metadata = {
        **_general(job, "model", kind),
        **language_model.metadata_of(config.text_config, tokenizer.rows),
        **tokenizer.keys,
    }
    tensors = language_model.tensors_of(checkpoint.tensors, config.text_config, tokenizer.rows, kind)
    file = folder / model_file(quantization)
    if quantization == "q4_k_m":
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            halves = Path(scratch) / "model-f16.gguf"
            write_file(halves, arch, metadata, tensors, job.advance)
            quantize(halves, file)
    else:
        write_file(file, arch, metadata, tensors, job.advance)
    keys = {**_general(job, "mmproj", "F16"), **vision.metadata_of(config, checkpoint.model)}
    images = vision.tensors_of(checkpoint.tensors, config, checkpoint.model)
    write_file(folder / PROJECTOR_FILE, vision.ARCHITECTURE, keys, images, job.advance)
    return [*tokenizer.notes, *vision.notes_of(config, checkpoint.model), whole_note(checkpoint)]


class _Tokenizer(NamedTuple):
    rows: int
    keys: Metadata
    notes: list[str]


def _tokenizer(job: ExportJob) -> _Tokenizer:
    if job.tokenizer_folder is None:
        raise UsageError(
            "no tokenizer is known for this model, and GGUF holds one", hint="Name it: --set model.tokenizer=DIR"
        )
    text = load_tokenizer(job.tokenizer_folder)
    backend = text.backend if job.template == OWN_TEMPLATE else with_our_templates(text.backend)
    embedded = int(job.checkpoint.config.get_text_config().vocab_size)
    rows = written_rows(backend, embedded)
    vocabulary = vocabulary_of(backend, rows)
    export = export_tokenizer(job.tokenizer_folder, job.template)
    template, notes = chat_template(job.template, export)
    ends = [one for one in export.end_ids if one < rows]
    known = {"bos": export.bos_token, "unknown": export.unk_token, "padding": export.pad_token}
    ids = {f"tokenizer.ggml.{key}_token_id": backend.token_to_id(one) for key, one in known.items() if one}
    keys: Metadata = {
        **vocabulary,
        **{key: one for key, one in ids.items() if one is not None and one < rows},
        **{f"tokenizer.ggml.{key}_token_id": one for key, one in zip(("eos", "eot"), ends, strict=False)},
        "tokenizer.chat_template": template,
    }
    return _Tokenizer(rows, keys, notes)


def _general(job: ExportJob, kind: str, type_: TensorType) -> Metadata:
    return {
        "general.type": kind,
        "general.name": job.checkpoint.path.name,
        "general.description": f"written by aurora convert; {whole_note(job.checkpoint)}",
        "general.file_type": FILE_TYPES[type_],
        "general.quantization_version": 2,
    }


def whole_note(checkpoint: OpenedCheckpoint) -> str:
    """What it costs that llama.cpp merges nothing."""
    config, side = config_of(checkpoint), checkpoint.model.image_size
    whole, trained = (config.frame_token_counts(side, side, merging).merged for merging in (WHOLE, checkpoint.merging))
    served = (
        "llama.cpp merges no tokens: it computes what `aurora caption --token-kept-ratio 1` does, "
        f"{whole:,} tokens a frame"
    )
    if whole == trained:
        return served
    return f"{served}; in training (kept ratio {checkpoint.merging.kept_ratio:g}) there were {trained:,}"
