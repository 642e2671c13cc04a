"""Opens the checkpoint, writes its export and verifies it: the heavy half of `aurora convert`."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from aurora_cli.captioning.options import is_foreign
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint, OpenOptions
from aurora_cli.checkpoints.facts import (
    FACTS_FILE,
    ConvertRequest,
    ExportFacts,
    Layout,
    Receipt,
    Verification,
    file_stamps,
)
from aurora_cli.checkpoints.loading import DTYPES
from aurora_cli.checkpoints.locate import is_gguf, locate
from aurora_cli.checkpoints.names import part_of
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.checkpoints.writing import parse_size
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE
from aurora_cli.errors import DataError, HostError, UsageError
from aurora_cli.export import from_gguf, verify
from aurora_cli.export.layouts import gguf, huggingface, official, onnx, xtuner
from aurora_cli.export.layouts.common import ExportJob, dtype_name
from aurora_cli.export.llama_cpp.proof import UNPROVED
from aurora_cli.export.llama_cpp.quantize import is_bound
from aurora_cli.export.model_card import write_card
from aurora_cli.export.positions import at_trained_size
from aurora_cli.export.receipt import SETTINGS_FILE, ExportSettings, file_sizes, is_current, read_facts
from aurora_cli.io.atomic import atomic_directory, existing_parent
from aurora_cli.pipeline.convert.evaluated import note_of_evaluation


def write_export(settings: Settings, request: ConvertRequest, output: Path, reporter: Reporter) -> ExportFacts:
    """Write what is not there as requested, verify what is not verified; what the export says of itself.

    Raises:
        DataError: the checkpoint is damaged, or lacks a part.
        UsageError: the output is, or holds, the checkpoint.
        HostError: the disk is too small.
    """
    reporter.info(f"opening {request.source}")
    if is_gguf(request.source):
        return _write_language_model(settings, request, output, reporter)
    options = OpenOptions(Workspace(settings.workspace).root, request.base, settings.model)
    checkpoint = open_checkpoint(request.source, options)
    source = checkpoint.path.resolve()
    if output.resolve() in (source, *source.parents):
        raise UsageError(f"{output}: is, or holds, what is to be converted", hint="Name another output folder.")
    facts = read_facts(output)
    if facts is None or not is_current(output, facts.receipt, request):
        checkpoint.check()
        facts = _write(settings, request, checkpoint, output, reporter)
    if settings.convert.verify:  # also what an earlier run wrote, and did not come to verify
        reporter.info(f"verifying {output} in a fresh process")
        facts = facts.model_copy(update={"verification": _verify(settings, request, checkpoint, output)})
        facts.write(output / FACTS_FILE)
    return facts


def _write(
    settings: Settings, request: ConvertRequest, checkpoint: OpenedCheckpoint, output: Path, reporter: Reporter
) -> ExportFacts:
    measured = note_of_evaluation(checkpoint, request.source, Workspace(settings.workspace))
    checkpoint = _as_written(checkpoint, request)
    if measured is not None and request.format != "onnx":  # whose graph has a ratio of its own
        checkpoint = replace(checkpoint, notes=(*checkpoint.notes, measured))
    size = sum(tensor.num_bytes for tensor in checkpoint.tensors.values())
    free = shutil.disk_usage(existing_parent(output)).free
    if free < size:
        raise HostError(f"{output}: the export has {size:,} bytes, and the disk {free:,} free")
    tokenizer = _tokenizer_folder(settings, checkpoint)
    with reporter.progress(f"writing {output}", size, "bytes") as advance, atomic_directory(output) as partial:
        job = _job(settings, request, checkpoint, tokenizer, advance)
        notes = (*checkpoint.notes, *_of_others(checkpoint, job), *_write_layout(job, request.format, partial))
        write_card(job, request.format, partial, output.name)
        ExportSettings(convert=request, model=checkpoint.model).write(partial / SETTINGS_FILE)
        facts = ExportFacts(
            merging=checkpoint.merging,
            trained_ratios=checkpoint.trained_ratios,
            model=checkpoint.model,
            history=checkpoint.history,
            prompting=checkpoint.prompting,
            notes=notes,
            parameters=sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values()),
            dtype=request.dtype or ("float32" if request.format == "onnx" else dtype_name(job.tensors)),
            receipt=Receipt(
                request=request,
                sources=file_stamps([*checkpoint.files, *([tokenizer] if tokenizer else [])]),
                files=file_sizes(partial),
            ),
        )
        facts.write(partial / FACTS_FILE)
    return facts


def _as_written(checkpoint: OpenedCheckpoint, request: ConvertRequest) -> OpenedCheckpoint:
    """What of the checkpoint is written, as the layout has it."""
    match request.format:
        case "huggingface" | "gguf":
            return at_trained_size(checkpoint)
        case "onnx":
            ratio = checkpoint.merging.kept_ratio if request.token_kept_ratio is None else request.token_kept_ratio
            seeing = {name: each for name, each in checkpoint.tensors.items() if part_of(name) != "language_model"}
            merging = checkpoint.merging.model_copy(update={"kept_ratio": ratio})
            trained = f"the graph merges at kept ratio {ratio:g}; the model was trained at"
            is_trained = ratio in (checkpoint.merging.kept_ratio, *checkpoint.trained_ratios)
            other = [] if is_trained else [f"{trained} {checkpoint.merging.kept_ratio:g}"]
            return replace(checkpoint, tensors=seeing, merging=merging, notes=(*checkpoint.notes, *other))
        case "xtuner" | "official":
            return checkpoint
        case _:
            assert_never(request.format)


def _write_language_model(settings: Settings, request: ConvertRequest, output: Path, reporter: Reporter) -> ExportFacts:
    """A language model alone, of a GGUF file, and what the folder says of itself."""
    source = locate(request.source, Workspace(settings.workspace).root)
    opened = from_gguf.open_gguf(source)
    dtype = None if request.dtype is None else DTYPES[request.dtype]
    size = sum(tensor.cast(dtype).num_bytes for tensor in opened.tensors.values())
    verification = None
    with reporter.progress(f"writing {output}", size, "bytes") as advance, atomic_directory(output) as partial:
        notes = from_gguf.write_language_model(
            opened,
            partial,
            dtype=dtype,
            safe=request.safe_serialization,
            max_shard_bytes=parse_size(request.max_shard_size),
            advance=advance,
        )
        if settings.convert.verify:
            difference = from_gguf.compare(opened, partial, verify.BOUNDS[request.dtype or "float32"])
            verification = Verification(ok=difference.holds, differences=(difference,))
        facts = ExportFacts(
            notes=tuple(notes),
            parameters=sum(math.prod(tensor.shape) for tensor in opened.tensors.values()),
            dtype=request.dtype or "float32",
            verification=verification,
            receipt=Receipt(request=request, sources=file_stamps([source]), files=file_sizes(partial)),
        )
        facts.write(partial / FACTS_FILE)
    return facts


def _write_layout(job: ExportJob, layout: Layout, folder: Path) -> list[str]:
    match layout:
        case "huggingface":
            return huggingface.write(job, folder)
        case "xtuner":
            return xtuner.write(job, folder)
        case "official":
            return official.write(job, folder)
        case "onnx":
            return onnx.write(job, folder)
        case "gguf":
            return gguf.write(job, folder)
        case _:
            assert_never(layout)


def _tokenizer_folder(settings: Settings, checkpoint: OpenedCheckpoint) -> Path | None:
    """The tokenizer that the checkpoint was trained with; else the one that the settings name, if they name one."""
    name = checkpoint.tokenizer or settings.model.tokenizer
    return None if name is None else locate(name, Workspace(settings.workspace).root)


def _template(settings: Settings, checkpoint: OpenedCheckpoint) -> str:
    """The template that the checkpoint was trained with; else the settings'."""
    return settings.tokenize.template if checkpoint.prompting is None else checkpoint.prompting.template


def _of_others(checkpoint: OpenedCheckpoint, job: ExportJob) -> list[str]:
    """What is said of a model that others trained by a chat template of its own."""
    if not is_foreign(checkpoint) or job.template == OWN_TEMPLATE:
        return []
    return [
        f"the model brings its own chat template; this export asks by the template {job.template} "
        f"(tokenize.template), which it may not have been trained with"
    ]


def _job(
    settings: Settings,
    request: ConvertRequest,
    checkpoint: OpenedCheckpoint,
    tokenizer: Path | None,
    advance: Callable[[int], None],
) -> ExportJob:
    return ExportJob(
        checkpoint=checkpoint,
        tokenizer_folder=tokenizer,
        template=_template(settings, checkpoint),
        dtype=None if request.dtype is None else DTYPES[request.dtype],
        safe=request.safe_serialization,
        max_shard_bytes=parse_size(request.max_shard_size),
        advance=advance,
        quantization=request.quantization,
    )


def _verify(settings: Settings, request: ConvertRequest, checkpoint: OpenedCheckpoint, output: Path) -> Verification:
    root = Workspace(settings.workspace).root.resolve()
    comparison = verify.VerifyRequest(
        source=checkpoint.path.resolve(),
        export=output.resolve(),
        layout=request.format,
        dtype=request.dtype or "float32",
        options=OpenOptions(root, request.base, settings.model),
        tokenizer=_tokenizer_folder(settings, checkpoint),
        template=_template(settings, checkpoint),
    )
    try:
        differences = tuple(verify.verify_in_child(comparison))
    except DataError as error:
        return Verification(ok=False, reason=error.message)
    unproved = UNPROVED if request.format == "gguf" and not is_bound() else None
    return Verification(ok=all(each.holds for each in differences), differences=differences, reason=unproved)
