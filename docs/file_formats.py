"""docs/reference/files.md: every file that aurora writes. docs/reference.py calls this.

What has a `StoredModel` is described by it: keys, types and docstrings. The rest is described here.
"""

import ast
import html
import importlib
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aurora_cli.config.section import Section
from aurora_cli.io.json_files import StoredModel

PACKAGE = Path(__file__).parents[1] / "aurora_cli"
PLAIN = {int: "integer", str: "string", bool: "true or false", float: "number", type(None): "null", dict: "object"}
SETTINGS = {"TokenMerging": "merging", "Lora": "train", "ModelSettings": "model"}
"""Sections of the settings that files repeat, by their class."""


@dataclass(frozen=True)
class Format:
    """One file."""

    path: str
    about: str
    model: str | None = None
    """Name of its class; none, or not there: `keys` describes it."""
    keys: Mapping[str, str] = field(default_factory=dict)
    line: bool = False
    """Whether the model is of one of its lines."""


GROUPS: dict[str, tuple[Format, ...]] = {
    "Data": (
        Format(
            "data/download.json",
            "Written by `aurora download` before the first byte comes, and again for each selection. `merge-tars` and"
            " `extract` look into it for what is still to come.",
            "DownloadManifest",
        ),
        Format(
            "data/<split>/<subset>/import.json",
            "Written last by `aurora import`: what the records beside it were made from. `.media` beside it holds a"
            " link to each folder of images and videos.",
            "ImportManifest",
        ),
        Format(
            "data/<split>/<subset>/.spent.jsonl",
            "A line for each archive or part that `--delete-archives` or `--delete-parts` removed: it is not missing.",
            "SpentFile",
            line=True,
        ),
        Format(
            "data/<split>/<subset>/.aurora/<archive>/receipt.json",
            "Written by `aurora extract` when an archive is done. While it works, `journal.jsonl` beside it has a line"
            " for each group of members that is on the disk.",
            "ExtractionReceipt",
        ),
        Format(
            "data/<split>/<subset>/.aurora/<archive>/journal.jsonl",
            "Its first line: what is being extracted. The file is there while `aurora extract` works.",
            "JournalHead",
            line=True,
        ),
        Format(
            "data/<split>/<subset>/.aurora/<archive>/journal.jsonl, further lines",
            "A line for each group of members that is on the disk.",
            "Progress",
            line=True,
        ),
        Format(
            "data/<split>/<subset>/rejected.jsonl",
            "A line for each member of an archive that was refused, and for each archive that breaks off.",
            "RejectedMember",
            line=True,
        ),
        Format(
            "NAME.tar.index",
            "Made by `aurora extract --layout index` beside `NAME.tar`: a safetensors file with the columns `key`,"
            " `offset`, `size`, `name_end`, `crc32` and `names`. See [archives](../how-it-works/archives.md).",
        ),
    ),
    "Token store": (
        Format(
            "tokenized/<split>/<subset>/shares.json",
            "Of `aurora tokenize --shard`, until the folder is complete: which share makes which shards.",
            "SharedWork",
        ),
        Format(
            "tokenized/<split>/<subset>/tokenize.json",
            "Written last by `aurora tokenize`: all shards are there.",
            "CompletionManifest",
        ),
        Format(
            "tokenized/<split>/<subset>/shards/part-00000/manifest.json",
            "One shard.",
            "ShardManifest",
        ),
        Format(
            "tokenized/<split>/<subset>/merged/manifest.json",
            "What `aurora merge-shards` linked.",
            "MergedManifest",
        ),
        Format(
            "tokenized/<split>/<subset>/.../data-00000-of-00001.arrow, summary.arrow, dataset_info.json, state.json",
            "The rows, as `datasets.load_from_disk` reads them, and some integers a row that packing needs. The columns"
            " are in [preparing text](../preparing-text.md#what-is-written).",
        ),
        Format(
            "tokenized/<split>/<subset>/rejected.jsonl",
            "A line for each record that gave no row. The reasons are in"
            " [preparing text](../preparing-text.md#rejected-records).",
            None,
            {"file, line, id": "which record", "reason, detail": "why"},
        ),
    ),
    "Runs": (
        Format("runs/<stage>/config.yaml", "The resolved settings of the run; its workers are started on this file."),
        Format("runs/<stage>/metrics.jsonl", "A line for each optimizer step.", "MetricsLine", line=True),
        Format(
            "runs/<stage>/rejected.jsonl",
            "A line for each sample that the loss leaves out: media that cannot be read, or too long for a pack.",
            "RejectedLine",
            line=True,
        ),
        Format(
            "runs/<stage>/samples/step-00000500.jsonl",
            "Captions of a few images and videos at that step.",
            "CaptionLine",
            line=True,
        ),
        Format("runs/<stage>/finished.json", "Written last, when all steps are done.", "FinishedRun"),
        Format(
            "runs/<stage>/checkpoints/step-00000100/checkpoint.json",
            "Beside `model.safetensors`, which holds the trained parts by transformers' names. `checkpoints/latest` has"
            " the name of the newest checkpoint, `checkpoints/best` of the best, by `checkpoint.keep_best`."
            " Its schema is 2 only with `quantize_base`: an aurora that does not know of it refuses such a checkpoint.",
            "CheckpointMetadata",
        ),
        Format(
            "runs/<stage>/checkpoints/step-00000100/resume/state.json",
            "Beside `exp_avg.safetensors` and `exp_avg_sq.safetensors`, Adam's moments by parameter name.",
            "TrainState",
        ),
        Format("runs/report.html", "The page to look at of all runs, where there are several."),
        Format(
            "runs/features/<name>/features.json",
            "With `train.cache_features`: what the features beside it are of, of which the folder's name is a digest."
            " `NAME.features` has the bytes of medium after medium, `NAME.index` (a safetensors file of the columns"
            " `high`, `low`, `offset`, `size`, `crc32`) where each lies by its 128-bit key. While it is written,"
            " `NAME.log` has the same as entries of 40 bytes.",
            "FeatureSpace",
        ),
        Format(
            "runs/<stage>/report.html, tensorboard/, logs/rank-N.log, initial/",
            "The page to look at; TensorBoard's files; what each worker printed; the random weights of a run that began"
            " without pretrained ones.",
        ),
    ),
    "Exports and captions": (
        Format(
            "export/<format>/aurora.json",
            "Beside the weights: how they merge tokens, and what made them. A second `aurora convert` compares its"
            " `receipt`.",
            "ExportFacts",
        ),
        Format("export/<format>/settings.json", "The resolved settings of the export.", "ExportSettings"),
        Format(
            "export/onnx/vision.json",
            "Beside the graph of `aurora convert --format onnx`: what goes in, and what comes out.",
            "FrameGraph",
        ),
        Format(
            "captions.jsonl",
            "The file of `aurora caption --output`: a line for each image or video.",
            "Caption",
            {
                "media, kind": "string: the path, and `image` or `video`",
                "caption": "string",
                "frames, visual_tokens, prompt_tokens, new_tokens": "integers",
                "seconds": "number: reading and generating, a medium's share of what was done for several at once",
                "cost": "object: `prefill_s` up to the first token, `decode_s` behind it, `peak_memory_mb` so far",
                "made_by": "string: a hash of the model's files and the settings; other lines are made anew",
            },
            line=True,
        ),
        Format(
            "captions.jsonl.settings.json",
            "What the captions were made with.",
            "CaptionSettingsFile",
            {
                "model, merging, template, frames, sampling": "of the model",
                "prompt, clip_prompt, decoding": "the questions, and how tokens are generated",
            },
        ),
        Format(
            "captions.jsonl.parts/<share>-of-<shares>.json",
            "Of `aurora caption --shard`, written last: the part is whole. Beside it lie its captions (`.jsonl`) and"
            " what it could not caption (`.rejected.jsonl`); their lines are those of the files above, with `line`,"
            " where in the list of media they stand.",
            "PartReceipt",
        ),
        Format(
            "captions.jsonl.parts/merged.json",
            "Which parts the output was made of: those are not merged again.",
            "MergedParts",
        ),
        Format(
            ".uploads/<hash of the URL>/.in-bucket.json",
            "Of an `--output` in a bucket: which of the files beside it are there, as they are here.",
            "KeptFiles",
        ),
        Format(
            "evaluation/<captions or model>/evaluation.json",
            "The scores of `aurora evaluate`, and the ids that met no other. Where a model captioned first its"
            " `captions*.jsonl` lie beside it, one a point of the curve, and the drawing `curve.svg`.",
            "Evaluation",
        ),
        Format(
            "evaluation/<captions>/evaluation.html",
            "The same as a page for a browser: scores, the curve, the best and the worst media with their images, and"
            " where two models differ.",
        ),
        Format(
            "evaluation/<captions>/judgements.jsonl",
            "What a judge (`aurora evaluate --judge`) said of each question: added to, never written anew. What it says"
            " of another caption, prompt or model is left there.",
            "Judgement",
            line=True,
        ),
        Format(
            "rejected.jsonl beside the captions",
            "A line for each image or video that could not be captioned.",
            None,
            {"media, reason": "which one, and why", "output": "string: the captions' file that it is missing in"},
        ),
    ),
    "At work": (
        Format(
            ".lock in an output's folder, .<name>.lock beside a file",
            "Who writes it, while somebody does; touched every 15 seconds. What a killed process left is taken by the"
            " next one on the same machine. One of another machine stays until it is removed: the error says how.",
            "Claim",
        ),
    ),
    "The demo": (
        Format("aurora-demo/prepared.json", "What `aurora demo` drew, written when all of it is there.", "Prepared"),
    ),
}


@cache
def homes() -> Mapping[str, str]:
    """Module of every class of the package, by the class's name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return found


def stored_model(name: str | None) -> type[StoredModel] | None:
    """The class of that name, if it is there and a file's."""
    if name is None or name not in homes():
        return None
    found = getattr(importlib.import_module(homes()[name]), name)
    return found if inspect.isclass(found) and issubclass(found, StoredModel) else None


def page(generated: str) -> str:
    """The whole page; `generated` is its first line."""
    lines = [
        generated,
        "# File formats",
        "",
        "Every file that aurora writes, by its path in the workspace. JSON files of aurora's own have a schema number."
        " A newer version reads what an older one wrote; keys that it does not know are ignored. Every file is written"
        " under another name and renamed: one that exists is whole.",
    ]
    for title, formats in GROUPS.items():
        lines += ["", f"## {title}"]
        shown: dict[type, str] = {}
        for one in formats:
            lines += ["", f"### `{one.path}`", "", one.about, *described(one, shown)]
    return "\n".join(lines) + "\n"


def described(one: Format, shown: dict[type, str]) -> list[str]:
    """The table of a file's keys, if it has any; `shown`: where objects inside files have been described."""
    model = stored_model(one.model)
    if model is None and not one.keys:
        return []
    if model is None:
        rows = [f"| {', '.join(f'`{key}`' for key in keys.split(', '))} | {text} |" for keys, text in one.keys.items()]
        return ["", "| key | what it is |", "| --- | --- |", *rows]
    head = [] if one.line else [f"| `{model.SCHEMA_KEY}` | integer | {model.SCHEMA} |"]
    return ["", "| key | type | what it is |", "| --- | --- | --- |", *head, *model_rows(model, "", shown)]


def model_rows(model: type, prefix: str, shown: dict[type, str]) -> Iterator[str]:
    """A row for each key, and those of the objects inside under it, if they are not shown yet."""
    notes = docstrings(model)
    for name, kind, info in members(model):
        key = prefix + (info.serialization_alias or info.alias or name if info is not None else name)
        inner, suffix = inside(kind)
        text = notes.get(name, "")
        if isinstance(inner, type) and inner.__name__ in SETTINGS:
            section = SETTINGS[inner.__name__]
            text = f"{text} As the [settings](settings.md#{section}) `{section}`.".strip()
            inner = None
        elif inner is not None and inner in shown:
            text = f"{text} Its keys are those of `{shown[inner]}` above.".strip()
            inner = None
        yield f"| `{key}` | {html.escape(type_name(kind), quote=False)} | {text} |"
        if inner is not None:
            shown[inner] = f"{key}{suffix}"
            yield from model_rows(inner, f"{key}{suffix}.", shown)


def members(model: type) -> Iterator[tuple[str, object, FieldInfo | None]]:
    """Name, type and pydantic's field of each member of a model or a dataclass."""
    if issubclass(model, BaseModel):
        yield from ((name, info.annotation, info) for name, info in model.model_fields.items())
    else:
        yield from ((name, kind, None) for name, kind in typing.get_type_hints(model).items())


def inside(kind: object) -> tuple[type | None, str]:
    """The class of objects in a type, and how a key says that there are several of them."""
    if isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind)):
        return kind, ""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    mark = "[]" if origin in (tuple, list) else ".*" if origin in (dict, Mapping) else ""
    for argument in arguments:
        found, below = inside(argument)
        if found is not None:
            return found, mark + below
    return None, ""


def type_name(kind: object) -> str:
    """A type in JSON's words.

    >>> type_name(tuple[int, ...]), type_name(dict[str, float] | None)
    ('list of integer', 'object of number, or null')
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        names = [type_name(each) for each in arguments]
        return ", or ".join([*(n for n in names if n != "null"), *(["null"] if "null" in names else [])])
    if origin is typing.Literal:
        return ", ".join(f'`"{each}"`' for each in arguments)
    if origin in (tuple, list):
        return f"list of {type_name(arguments[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return f"object of {type_name(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, tuple):
        return f"list: {', '.join(typing.get_type_hints(kind))}"
    return PLAIN.get(kind, "object") if isinstance(kind, type) else "any"


def docstrings(model: type) -> dict[str, str]:
    """The text below each member, in the source of the class and of those it is made from."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base.__module__.startswith("aurora_cli") and base not in (StoredModel, Section):
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
            assert isinstance(body, ast.ClassDef)
            for before, after in zip(body.body, body.body[1:], strict=False):
                if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr):
                    assert isinstance(before.target, ast.Name)
                    found[before.target.id] = inspect.cleandoc(ast.literal_eval(after.value)).replace("\n", " ")
    return found
