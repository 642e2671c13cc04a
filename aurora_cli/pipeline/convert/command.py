"""The command: what is to be converted, where to, and whether it has been done. What writes is imported on use."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from aurora_cli.checkpoints.facts import ConvertRequest, ExportFacts
from aurora_cli.checkpoints.locate import check_name, is_gguf
from aurora_cli.config.settings import ConvertSettings, Settings
from aurora_cli.config.workspace import Workspace, check_folder
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import HostError, UsageError
from aurora_cli.export.receipt import is_current, read_facts
from aurora_cli.hub.upload import check_repo, push
from aurora_cli.imports import imported_at_once, without_compiler
from aurora_cli.io.atomic import disk_errors
from aurora_cli.io.locks import lock_output
from aurora_cli.pipeline.convert.result import ConvertResult, result_of
from aurora_cli.runs.find import newest_finished_run

_PROVES_GGUF = "llama_cpp"


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> ConvertResult:
    """Write an export, all of it or nothing, verify it, and upload it if that is requested.

    Raises:
        DataError: there is nothing to convert, or it is damaged.
        UsageError: the output is a folder of something else.
        HostError: the disk is too small, or the hub does not take the export.
    """
    convert, workspace = settings.convert, Workspace(settings.workspace)
    if convert.push_to_hub is not None:
        check_repo(convert.push_to_hub)
    _check_graph(convert)
    _check_types(convert)
    request = _request(settings, convert.checkpoint or str(newest_finished_run(workspace)))
    if is_gguf(request.source):
        request = _of_gguf(convert, request)
    output = workspace.path(convert.output) if convert.output else workspace.export(convert.format)
    check_folder(output.parent, "convert.output")
    for name in (request.source, request.base):
        if name is not None:
            check_name(name, workspace.root)
    facts = read_facts(output)
    _check_output(output, facts)
    if facts is not None and _is_done(facts, output, request, verified=convert.verify):
        result = result_of(facts, output, done=False)
    elif dry_run:
        return ConvertResult(
            request.source, str(output), request.format, done=False, dry_run=True, pushed=convert.push_to_hub
        )
    else:
        with imported_at_once(), without_compiler():
            from aurora_cli.pipeline.convert.write import write_export

        with disk_errors(output), lock_output(output, "aurora convert"):
            result = result_of(write_export(settings, request, output, reporter), output, done=True)
    return result if dry_run else _pushed(result, output, convert, reporter)


def _check_types(convert: ConvertSettings) -> None:
    """
    Raises:
        UsageError: a type is requested that the layout has not.
    """
    if convert.format != "gguf":
        if convert.quantization is not None:
            raise UsageError(
                f"--quantization {convert.quantization}: is of --format gguf alone",
                hint="Of other layouts it is --dtype.",
            )
    elif convert.dtype is not None:
        raise UsageError(
            f"--dtype {convert.dtype}: --format gguf has types of its own", hint="Name one by --quantization."
        )
    elif not convert.safe_serialization:
        raise UsageError("--no-safe-serialization: --format gguf writes no pickles", hint="Leave it out.")


def _request(settings: Settings, source: str) -> ConvertRequest:
    convert = settings.convert
    return ConvertRequest(
        source=source,
        format=convert.format,
        base=convert.base,
        safe_serialization=convert.safe_serialization,
        dtype=convert.dtype,
        max_shard_size=convert.max_shard_size,
        model=settings.model,
        token_kept_ratio=convert.token_kept_ratio,
        quantization=(convert.quantization or "f16") if convert.format == "gguf" else None,
    )


def _of_gguf(convert: ConvertSettings, request: ConvertRequest) -> ConvertRequest:
    """The request for a language model in GGUF, which becomes a folder of transformers.

    Raises:
        UsageError: a language model alone has no place of its own, and no other layout than transformers'.
    """
    if convert.output is None:
        raise UsageError(
            f"{request.source}: is a language model in GGUF; the folder to write is not named",
            hint=f"aurora convert {request.source} {Path(request.source).stem}",
        )
    if request.format not in ("xtuner", "huggingface") or request.base is not None or convert.push_to_hub is not None:
        raise UsageError(
            f"{request.source}: is a language model in GGUF; it becomes a folder of transformers",
            hint="Leave --format, --base and --push-to-hub out.",
        )
    return request.model_copy(update={"format": "huggingface"})


def _check_graph(convert: ConvertSettings) -> None:
    """
    Raises:
        UsageError: a flag is of graphs alone, and none is requested; or it is of weights alone.
        HostError: what writes a graph, or runs it, is not installed.
    """
    if convert.format != "onnx":
        if convert.token_kept_ratio is not None:
            raise UsageError(
                f"--token-kept-ratio is of --format onnx alone: {convert.format} has weights, which merge at any",
                hint="aurora caption --token-kept-ratio, or load_model(token_merging=...), says the ratio.",
            )
        return
    if convert.dtype not in (None, "float32"):
        raise UsageError(f"--dtype {convert.dtype}: a graph of --format onnx is in float32", hint="Leave --dtype out.")
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise HostError(
                f"--format onnx needs {package}, which is not installed", hint="pip install 'aurora-cli[onnx]'"
            )


def _check_output(output: Path, facts: ExportFacts | None) -> None:
    if output.is_file() or (output.is_dir() and facts is None and any(output.iterdir())):
        raise UsageError(
            f"{output}: holds something that `aurora convert` did not write, and would be replaced",
            hint="Name another output folder, or empty it.",
        )


def _is_done(facts: ExportFacts, output: Path, request: ConvertRequest, *, verified: bool) -> bool:
    if not is_current(output, facts.receipt, request):
        return False
    if not verified:
        return True
    if facts.verification is None or not facts.verification.ok:
        return False
    is_unproved = request.format == "gguf" and facts.verification.reason is not None
    return not (is_unproved and find_spec(_PROVES_GGUF))


def _pushed(result: ConvertResult, output: Path, convert: ConvertSettings, reporter: Reporter) -> ConvertResult:
    """Uploaded, unless nobody wants it or it is wrong."""
    if convert.push_to_hub is None or result.verified is False:
        return result
    reporter.info(f"uploading {output} to {convert.push_to_hub}")
    return replace(result, pushed=push(output, convert.push_to_hub, private=convert.private))
