"""`aurora convert`: a checkpoint of any kind to a folder that other programs load, and the proof of it."""

import math
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from aurora_cli.checkpoints.fingerprint import stamps
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import EXIT_DATA, EXIT_OK, DataError, HostError, UsageError
from aurora_cli.export import receipts
from aurora_cli.io.atomic import atomic_directory, disk_errors, existing_parent, lock_output, write_json
from aurora_cli.pipeline.result import Result

if TYPE_CHECKING:
    from aurora_cli.checkpoints.checkpoint import Checkpoint, Origin
    from aurora_cli.export.layouts.common import Job

from aurora_cli.runs.find import newest_finished_run


@dataclass(frozen=True)
class ConvertResult(Result):
    """What was written, and how far it is from its source."""

    source: str
    output: str
    format: str
    done: bool = True
    """False: it was there already, or `--dry-run`."""
    dry_run: bool = False
    parameters: int = 0
    bytes: int = 0
    dtype: str = ""
    merging: dict[str, Any] = field(default_factory=dict)
    stages: tuple[str, ...] = ()
    verified: bool | None = None
    """None: not asked for."""
    differences: tuple[dict[str, Any], ...] = ()
    """What was compared, the largest difference of two logits, and the bound."""
    notes: tuple[str, ...] = ()
    pushed: str | None = None
    """The commit on the hub."""

    def lines(self) -> list[str]:
        if self.dry_run:
            to_hub = f", and upload it to {self.pushed}" if self.pushed else ""
            return [f"Would write {self.source} as {self.format} to {self.output}{to_hub}"]
        uploaded = [f"  on the hub: {self.pushed}"] if self.pushed else []
        if not self.done:
            nothing = f"{self.output} is what converting {self.source} to {self.format} gives: nothing to do"
            return [nothing, *uploaded]
        kept = f"kept ratio {self.merging['kept_ratio']:g}, schedule {self.merging['schedule']}"
        said = [
            f"{self.source} as {self.format}: {self.output}",
            f"  {self.parameters:,} parameters, {self.bytes:,} bytes, {self.dtype}; trained by "
            + (", ".join(self.stages) or "somebody else"),
            f"  visual tokens merge with {kept}",
        ]
        for each in self.differences:
            said.append(f"  {each['what']}: logits differ by {each['difference']:.2g} (bound {each['bound']:.2g})")
        if self.verified is False:
            said.append(f"  NOT VERIFIED: {self.output} does not compute what {self.source} does; it stays for a look")
        return [*said, *(f"  note: {note}" for note in self.notes), *uploaded]

    @property
    def exit_code(self) -> int:
        return EXIT_DATA if self.verified is False else EXIT_OK


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> ConvertResult:
    """Write an export, all of it or nothing, and verify it.

    Raises:
        DataError: there is nothing to convert, or it is damaged.
        UsageError: the output is a folder of something else.
        HostError: the disk is too small, or the hub does not take the export.
    """
    from aurora_cli.checkpoints.locate import check_name
    from aurora_cli.hub.upload import check_repo, push

    convert = settings.convert
    workspace = Workspace(settings.workspace)
    if convert.push_to_hub is not None:
        check_repo(convert.push_to_hub)
    name = convert.checkpoint or str(newest_finished_run(workspace))
    output = workspace.path(convert.output) if convert.output else workspace.export(convert.format)
    for named in (name, convert.base):
        if named is not None:
            check_name(named, workspace.root)
    asked = _asked(settings, name)
    facts = receipts.read(output)
    _check_output(output, facts)
    current = facts is not None and receipts.is_current(output, facts, asked)
    if facts is not None and current and (not convert.verify or (facts["verified"] or {}).get("ok")):
        result = _result(name, output, facts, done=False)
    elif dry_run:
        return ConvertResult(name, str(output), convert.format, done=False, dry_run=True, pushed=convert.push_to_hub)
    else:
        with disk_errors(output), lock_output(output, "aurora convert"):
            facts = _convert(settings, reporter, name, output, asked)
        result = _result(name, output, facts, done=True)
    if convert.push_to_hub is None or dry_run or result.verified is False:
        return result
    reporter.info(f"uploading {output} to {convert.push_to_hub}")
    return replace(result, pushed=push(output, convert.push_to_hub, private=convert.private))


def _convert(settings: Settings, reporter: Reporter, name: str, output: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Write what is not there as asked, verify what is not verified; what the export remembers of it."""
    from aurora_cli.checkpoints.checkpoint import Origin
    from aurora_cli.checkpoints.opening import open_checkpoint

    reporter.info(f"opening {name}")
    origin = Origin(Workspace(settings.workspace).root, settings.convert.base, settings.model)
    checkpoint = open_checkpoint(name, origin)
    if output.resolve() == checkpoint.path.resolve() or output.resolve() in checkpoint.path.resolve().parents:
        raise UsageError(f"{output}: is, or holds, what is to be converted", hint="Name another output folder.")
    facts = receipts.read(output)
    if facts is None or not receipts.is_current(output, facts, asked):
        checkpoint.check()
        facts = _write(settings, reporter, checkpoint, origin, output, asked)
    if settings.convert.verify:  # also what an earlier run wrote, and did not come to verify
        facts["verified"] = _verify(settings, reporter, checkpoint, origin, output)
        receipts.write(output, {key: value for key, value in facts.items() if key != "schema"})
    return facts


def _asked(settings: Settings, name: str) -> dict[str, Any]:
    """What decides how an export looks; kept in its receipt."""
    convert = settings.convert.model_dump(
        mode="json", exclude={"output", "checkpoint", "verify", "push_to_hub", "private"}
    )
    return {"source": name, **convert, "model": settings.model.model_dump(mode="json")}


def _check_output(output: Path, facts: dict[str, Any] | None) -> None:
    if output.is_file() or (output.is_dir() and facts is None and any(output.iterdir())):
        raise UsageError(
            f"{output}: holds something that `aurora convert` did not write, and would be replaced",
            hint="Name another output folder, or empty it.",
        )


def _write(
    settings: Settings,
    reporter: Reporter,
    checkpoint: "Checkpoint",
    origin: "Origin",
    output: Path,
    asked: dict[str, Any],
) -> dict[str, Any]:
    from aurora_cli.export.model_card import write_card

    convert = settings.convert
    tokenizer = _tokenizer_folder(settings, checkpoint, origin)
    size = sum(tensor.num_bytes for tensor in checkpoint.tensors.values())
    free = shutil.disk_usage(existing_parent(output)).free
    if free < size:
        raise HostError(f"{output}: the export has {size:,} bytes, and the disk {free:,} free")
    with reporter.progress(f"writing {output}", size, "bytes") as advance, atomic_directory(output) as partial:
        job = _job(settings, checkpoint, tokenizer, advance)
        notes = [*checkpoint.notes, *_write_layout(job, convert.format, partial)]
        write_card(job, convert.format, partial, output.name)
        write_json(partial / "settings.json", {"convert": asked, "model": checkpoint.model.model_dump(mode="json")})
        facts: dict[str, Any] = {
            "merging": checkpoint.merging.model_dump(mode="json"),
            "model": checkpoint.model.model_dump(mode="json"),
            "history": list(checkpoint.history),
            "prompting": None if checkpoint.prompting is None else checkpoint.prompting._asdict(),
            "notes": notes,
            "parameters": sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values()),
            "dtype": convert.dtype or _main_dtype(job),
            "verified": None,
            "receipt": {
                "asked": asked,
                "sources": stamps([*checkpoint.files, *([tokenizer] if tokenizer else [])]),
                "files": receipts.sizes(partial),
            },
        }
        receipts.write(partial, facts)
    return facts


def _job(settings: Settings, checkpoint: "Checkpoint", tokenizer: Path | None, advance: Any) -> "Job":
    from aurora_cli.checkpoints.loading import DTYPES
    from aurora_cli.checkpoints.writing import parse_size
    from aurora_cli.export.layouts.common import Job

    convert = settings.convert
    prompting = checkpoint.prompting
    return Job(
        checkpoint=checkpoint,
        tokenizer_folder=tokenizer,
        template=settings.tokenize.template if prompting is None else prompting.template,
        dtype=None if convert.dtype is None else DTYPES[convert.dtype],
        safe=convert.safe_serialization,
        max_shard_bytes=parse_size(convert.max_shard_size),
        advance=advance,
    )


def _write_layout(job: "Job", layout: str, folder: Path) -> list[str]:
    from aurora_cli.export.layouts import huggingface, official, xtuner

    match layout:
        case "huggingface":
            return huggingface.write(job, folder)
        case "xtuner":
            return xtuner.write(job, folder)
        case "official":
            return official.write(job, folder)
        case _:
            assert_never(layout)  # pyright: ignore[reportArgumentType]


def _tokenizer_folder(settings: Settings, checkpoint: "Checkpoint", origin: "Origin") -> Path | None:
    """The tokenizer that the checkpoint was trained with; else the one that the settings name, if they name one."""
    from aurora_cli.checkpoints.locate import locate

    name = checkpoint.tokenizer or settings.model.tokenizer
    return None if name is None else locate(name, origin.root)


def _verify(
    settings: Settings, reporter: Reporter, checkpoint: "Checkpoint", origin: "Origin", output: Path
) -> dict[str, Any]:
    from aurora_cli.export.verify import Request, verify_in_child

    convert = settings.convert
    reporter.info(f"verifying {output} in a fresh process")
    request = Request(
        source=str(checkpoint.path.resolve()),
        export=str(output.resolve()),
        layout=convert.format,
        dtype=convert.dtype or "float32",
        root=str(settings.workspace.resolve()),
        base=convert.base,
        model=settings.model.model_dump(mode="json"),
    )
    try:
        found = verify_in_child(request)
    except DataError as error:
        return {"ok": False, "differences": [], "reason": error.message}
    differences = [{"what": each.what, "difference": each.difference, "bound": each.bound} for each in found]
    return {"ok": all(each.holds for each in found), "differences": differences}


def _result(name: str, output: Path, facts: dict[str, Any], *, done: bool) -> ConvertResult:
    verified = facts.get("verified")
    reason = [] if verified is None or "reason" not in verified else [verified["reason"]]
    return ConvertResult(
        source=name,
        output=str(output),
        format=facts["receipt"]["asked"]["format"],
        done=done,
        parameters=facts["parameters"],
        bytes=sum(facts["receipt"]["files"].values()),
        dtype=facts["dtype"],
        merging=facts["merging"],
        stages=tuple(stage["stage"] for stage in facts["history"]),
        verified=None if verified is None else verified["ok"],
        differences=() if verified is None else tuple(verified["differences"]),
        notes=(*facts["notes"], *reason),
    )


def _main_dtype(job: "Job") -> str:
    from aurora_cli.export.layouts.common import dtype_name

    return dtype_name(job.tensors)
