"""All commands, and how one becomes a typer command: parse words, resolve settings, call the step once, report."""

import inspect
import os
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from aurora_cli.cli.console import ConsoleReporter, QuietReporter, emit
from aurora_cli.cli.spec import CommandSpec, Flag, Step
from aurora_cli.cli.table import COMMANDS
from aurora_cli.config.resolve import Resolved, resolve
from aurora_cli.config.settings import Settings
from aurora_cli.console import SILENT
from aurora_cli.errors import Interrupted, UsageError

SPLIT_METAVAR = "SPLIT"


def _step(module: str) -> Any:
    def load() -> Step:
        return import_module(f"aurora_cli.{module}").run

    return load


_SPECS = (
    CommandSpec(
        "download",
        _step("pipeline.download.command"),
        (
            Flag("download.repo", ("--repo",)),
            Flag("download.revision", ("--revision",)),
            Flag("download.splits", ("--split",), SPLIT_METAVAR),
            Flag("download.subsets", ("--subset",)),
            Flag("download.annotations_only", ("--annotations-only",)),
            Flag("download.include", ("--include",), "GLOB"),
            Flag("download.exclude", ("--exclude",), "GLOB"),
            Flag("download.output", ("--output",), "DIR"),
            Flag("download.workers", ("--workers",)),
            Flag("download.retries", ("--retries",)),
            Flag("download.sync", ("--sync",)),
            Flag("download.verify", ("--verify",)),
        ),
        (
            "aurora download --dry-run",
            "aurora download --split projection --subset densefusion",
            "aurora download --repo /mnt/mirror --annotations-only",
        ),
    ),
    CommandSpec(
        "merge-tars",
        _step("pipeline.merge_tars"),
        (
            Flag("merge_tars.folders", (), "DIR"),
            Flag("merge_tars.delete_parts", ("--delete-parts",)),
            Flag("merge_tars.sync", ("--sync",)),
        ),
        ("aurora merge-tars", "aurora merge-tars data/vision --delete-parts"),
    ),
    CommandSpec(
        "extract",
        _step("pipeline.extract.command"),
        (
            Flag("extract.inputs", (), "PATH"),
            Flag("extract.output", ("--output",), "DIR"),
            Flag("extract.layout", ("--layout",)),
            Flag("extract.delete_archives", ("--delete-archives",)),
            Flag("extract.sync", ("--sync",)),
            Flag("extract.workers", ("--workers",)),
            Flag("extract.max_inflation", ("--max-inflation",)),
        ),
        ("aurora extract", "aurora extract data/vision/cost --layout index --delete-archives"),
    ),
    CommandSpec(
        "tokenize",
        _step("pipeline.tokenize.command"),
        (
            Flag("tokenize.inputs", (), "INPUT"),
            Flag("tokenize.splits", ("--split",), SPLIT_METAVAR),
            Flag("tokenize.subsets", ("--subset",)),
            Flag("tokenize.batch_size", ("--batch-size",)),
            Flag("tokenize.output", ("--output",), "DIR"),
            Flag("model.tokenizer", ("--tokenizer",), "DIR|ID"),
            Flag("tokenize.record_schema", ("--schema",)),
            Flag("tokenize.template", ("--template",)),
            Flag("tokenize.max_length", ("--max-length",)),
            Flag("tokenize.frames", ("--frames",)),
            Flag("tokenize.frame_lists", ("--frame-lists",)),
            Flag("tokenize.workers", ("--workers",)),
            Flag("tokenize.check_media", ("--check-media",)),
            Flag("tokenize.on_error", ("--on-error",)),
            Flag("tokenize.force", ("--force",)),
        ),
        (
            "aurora tokenize --batch-size 100000",
            "aurora tokenize --split projection --subset densefusion",
            "aurora tokenize my.jsonl --output tokenized/vision/mine --tokenizer ./vicuna",
            "aurora tokenize chats.jsonl --schema openai-messages --template tokenizer --tokenizer ./qwen2",
        ),
    ),
    CommandSpec(
        "merge-shards",
        _step("pipeline.merge_shards"),
        (
            Flag("merge_shards.folders", (), "DIR"),
            Flag("merge_shards.output", ("--output",), "DIR"),
            Flag("merge_shards.copy_files", ("--copy",)),
        ),
        ("aurora merge-shards", "aurora merge-shards tokenized/vision/mine --output /data/mine --copy"),
    ),
    CommandSpec(
        "train",
        _step("pipeline.train.command"),
        (
            Flag("train.stage", ("--stage",), "STAGE"),
            Flag("train.data", ("--data",), "DIR[:WEIGHT]"),
            Flag("train.media_root", ("--media-root",), "DIR"),
            Flag("train.run_dir", ("--run-dir",), "DIR"),
            Flag("train.init_from", ("--init-from",), "DIR|ID"),
            Flag("train.deepspeed", ("--deepspeed",), "NAME|FILE"),
            Flag("train.num_processes", ("--num-processes",)),
            Flag("train.resume", ("--resume",), "auto|never|DIR"),
            Flag("train.max_steps", ("--max-steps",)),
            Flag("train.seed", ("--seed",)),
            Flag("train.plan", ("--plan",)),
            Flag("merging.kept_ratio", ("--token-kept-ratio", "--visual-token-merge-ratio")),
            Flag("merging.slowfast", ("--slowfast",)),
        ),
        (
            "aurora train --stage projection",
            "aurora train --stage vision --plan",
            "aurora train --stage vision --num-processes 8 --deepspeed zero2",
            "aurora train --stage language --set train.language_model.lr=1e-5 --dry-run",
        ),
        "Started plainly it launches its processes; under torchrun, accelerate, deepspeed or srun it is one of theirs.",
        ignored=("--local_rank", "--local-rank"),
    ),
    CommandSpec(
        "convert",
        _step("pipeline.convert.command"),
        (
            Flag("convert.checkpoint", (), "CHECKPOINT"),
            Flag("convert.output", (), "OUTPUT"),
            Flag("convert.format", ("--format",)),
            Flag("convert.base", ("--base",), "DIR|ID"),
            Flag("convert.safe_serialization", ("--safe-serialization",)),
            Flag("convert.dtype", ("--dtype",)),
            Flag("convert.max_shard_size", ("--max-shard-size",)),
            Flag("convert.verify", ("--verify",)),
            Flag("convert.push_to_hub", ("--push-to-hub",), "REPO"),
            Flag("convert.private", ("--private",), needs="--push-to-hub"),
        ),
        (
            "aurora convert --format huggingface",
            "aurora convert runs/language/checkpoints/step-00000100 out --dtype bfloat16",
            "aurora convert iter_4000.pth --base older-export --format huggingface",
            "aurora convert --format huggingface --push-to-hub me/captioner --private",
        ),
    ),
    CommandSpec(
        "caption",
        _step("pipeline.caption.command"),
        (
            Flag("caption.media", (), "MEDIA"),
            Flag("caption.model", ("--model",), "DIR|ID"),
            Flag("caption.token_kept_ratio", ("--token-kept-ratio", "--visual-token-merge-ratio")),
            Flag("caption.frames", ("--frames",)),
            Flag("caption.prompt", ("--prompt",)),
            Flag("caption.slowfast", ("--slowfast",)),
            Flag("caption.max_new_tokens", ("--max-new-tokens",)),
            Flag("caption.batch_size", ("--batch-size",)),
            Flag("caption.output", ("--output",), "FILE.jsonl"),
            Flag("caption.temperature", ("--temperature",)),
            Flag("caption.top_p", ("--top-p",)),
            Flag("caption.num_beams", ("--num-beams",)),
            Flag("caption.seed", ("--seed",)),
            Flag("caption.allow_remote", ("--allow-remote",)),
            Flag("caption.device", ("--device",)),
            Flag("caption.device_map", ("--device-map",)),
            Flag("caption.serve", ("--serve",)),
            Flag("caption.port", ("--port",)),
        ),
        (
            "aurora caption clip.mp4",
            "aurora caption holiday/ --output captions.jsonl --token-kept-ratio 0.3",
            "aurora caption https://example.org/cat.jpg --allow-remote --num-beams 4",
            "aurora caption --serve",
        ),
    ),
    CommandSpec(
        "merge-view",
        _step("pipeline.merge_view.command"),
        (
            Flag("merge_view.image", (), "IMAGE"),
            Flag("merge_view.model", ("--model",), "DIR|ID"),
            Flag("merge_view.token_kept_ratios", ("--token-kept-ratio", "--visual-token-merge-ratio"), "RATIO"),
            Flag("merge_view.output", ("--output",), "FILE.png"),
            Flag("merge_view.device", ("--device",)),
        ),
        (
            "aurora merge-view image.jpg",
            "aurora merge-view image.jpg --token-kept-ratio 0.3 --token-kept-ratio 0.1 --output merged.png",
        ),
        "Runs the vision tower alone, and paints every region of patches that became one token in its mean colour.",
    ),
    CommandSpec(
        "demo",
        _step("demo.run"),
        (
            Flag("demo.prepare_only", ("--prepare-only",)),
            Flag("demo.images", ("--images",)),
            Flag("demo.videos", ("--videos",)),
            Flag("demo.held_out", ("--held-out",)),
        ),
        ("aurora demo", "aurora demo --prepare-only", "aurora demo --workspace /tmp/try"),
        "Draws a small data set, then runs the commands of the pipeline on it, one by one, and shows each.",
        workspace="aurora-demo",
    ),
    CommandSpec(
        "inspect",
        _step("pipeline.inspect.command"),
        (
            Flag("inspect.path", (), "PATH"),
            Flag("inspect.decode", ("--decode",)),
            Flag("inspect.samples", ("--samples",)),
            Flag("inspect.html", ("--html",), "FILE.html"),
        ),
        (
            "aurora inspect",
            "aurora inspect data/vision/cost --decode",
            "aurora inspect my.jsonl",
            "aurora inspect tokenized/vision/mine --samples 5",
            "aurora inspect tokenized/vision/mine/merged --html report.html",
            "aurora inspect runs/vision",
        ),
        "PATH is a data folder, an annotation file, a shard, a merged folder or a run; without it: data/.",
    ),
    CommandSpec("presets", _step("pipeline.presets"), (), ("aurora presets", "aurora presets --json")),
    CommandSpec("doctor", _step("pipeline.doctor"), (), ("aurora doctor",)),
)

SPECS = {spec.name: spec for spec in _SPECS}


def build_command(name: str) -> Any:
    """The typer command of this name."""
    spec = SPECS[name]
    panel, summary = COMMANDS[name]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(
        name,
        help="\n\n".join(filter(None, (summary, spec.about))),
        epilog="\n\n".join(("Examples:", *spec.examples)),
        rich_help_panel=panel,
        context_settings={"help_option_names": ["-h", "--help"]},
    )(_function(spec))
    return typer.main.get_command(app)


def _function(spec: CommandSpec) -> Any:
    def command(**given: Any) -> None:
        code = _execute(spec, given)
        if code:
            raise typer.Exit(code)

    parameters = [*map(_parameter, spec.flags), *_COMMON]
    if spec.ignored:
        parameters.append(_keyword("ignored", str | None, None, typer.Option(*spec.ignored, hidden=True)))
    command.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _execute(spec: CommandSpec, given: dict[str, Any]) -> int:
    resolved = _resolve(spec, given)
    _check_needs(spec, given, resolved.settings)
    worker = int(os.environ.get("RANK", "0")) > 0
    step = spec.step()
    reporter = None
    if not worker:
        reporter = QuietReporter() if given["quiet"] else ConsoleReporter(streams=not given["as_json"])
    try:
        result = step(resolved.settings, reporter or SILENT, dry_run=given["dry_run"])
    except KeyboardInterrupt:
        again = "Run the same command again to continue."
        raise Interrupted("interrupted; the work so far is safe", hint=again) from None
    if reporter is not None:
        emit(result, given["as_json"], reporter.streamed)
    return result.exit_code


def _resolve(spec: CommandSpec, given: dict[str, Any]) -> Resolved:
    flags: dict[str, tuple[str, Any]] = {}
    for flag in spec.flags:
        value = given[flag.parameter]
        if value is not None and value != []:
            flags[flag.path] = (flag.names[0] if flag.names else flag.metavar or flag.path, value)
    for path in ("workspace", "preset"):
        if given[path] is not None:
            flags[path] = (f"--{path}", given[path])
    if spec.workspace and "workspace" not in flags and "AURORA_WORKSPACE" not in os.environ:
        flags["workspace"] = (f"aurora {spec.name}", spec.workspace)
    config = given["config"]
    return resolve(flags, given["assignments"] or (), None if config is None else Path(config))


def _check_needs(spec: CommandSpec, given: dict[str, Any], settings: Settings) -> None:
    """Raise UsageError for a flag that does nothing without another one."""
    by_name = {name: flag for flag in spec.flags for name in flag.names}
    for flag in spec.flags:
        if flag.needs is None or not given[flag.parameter]:
            continue
        needed = by_name[flag.needs]
        if attrgetter(needed.path)(settings) is None:
            raise UsageError(
                f"{flag.names[0]}: does nothing without {flag.needs}",
                hint=f"aurora {spec.name} {flag.needs} {needed.metavar} {flag.names[0]}",
            )


def _parameter(flag: Flag) -> inspect.Parameter:
    annotation: Any = list[str] if flag.setting.many else bool if flag.switch else str
    kind = flag.setting.kind
    metavar = flag.metavar or ("" if flag.switch else kind if flag.setting.choices else kind.upper())
    if flag.names:
        info = typer.Option(*flag.declarations, help=flag.help, metavar=metavar, show_default=False)
    else:
        info = typer.Argument(help=flag.help, metavar=metavar, show_default=False)
    return _keyword(flag.parameter, annotation | None, None, info)


def _keyword(name: str, annotation: Any, default: Any, info: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, info]
    )


def _common(name: str, annotation: Any, default: Any, *names: str, metavar: str = "", help: str) -> inspect.Parameter:
    info = typer.Option(*names, rich_help_panel="Everywhere", show_default=False, metavar=metavar, help=help)
    return _keyword(name, annotation, default, info)


_COMMON = (
    _common("workspace", str | None, None, "--workspace", metavar="DIR", help="Folder that relative paths start from."),
    _common("preset", str | None, None, "--preset", metavar="NAME|FILE", help="`aurora presets` lists them."),
    _common("config", str | None, None, "--config", metavar="FILE", help="Settings, above those of aurora.yaml."),
    _common(
        "assignments", list[str] | None, None, "--set", metavar="KEY=VALUE", help="Any setting by its dotted path."
    ),
    _common("dry_run", bool, False, "--dry-run", help="Say what would happen; touch nothing."),
    _common("as_json", bool, False, "--json", help="Print exactly one JSON object."),
    _common("quiet", bool, False, "--quiet", help="No progress and no logs, only warnings."),
    _common("debug", bool, False, "--debug", help="Tracebacks."),
)
