"""What `aurora evaluate` shall do, known before anything is read."""

from dataclasses import dataclass
from pathlib import Path

from aurora_cli.checkpoints.locate import check_name
from aurora_cli.config.settings import EvaluateSettings, Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.errors import AuroraError, DataError, UsageError
from aurora_cli.evaluation.stored import FILE, Evaluation
from aurora_cli.runs.find import find_model


@dataclass(frozen=True)
class EvaluateRequest:
    """Captions that are there, or a model that captions first; and what they are compared with."""

    captions: Path | None
    model: str | None
    """One of the two is there."""
    references: Path
    against: Path | None
    output: Path


def resolve_request(settings: Settings, reporter: Reporter) -> EvaluateRequest:
    """What the settings ask for.

    Raises:
        UsageError: no references are named, or captions and a model.
        DataError: there is no such model, or none at all.
    """
    evaluate, workspace = settings.evaluate, Workspace(settings.workspace)
    if evaluate.references is None:
        raise UsageError(
            "no references are named", hint="aurora evaluate [captions.jsonl] --references references.jsonl"
        )
    captions, model = evaluate.captions, None
    if captions is not None and (named := _captioning(evaluate)):
        raise UsageError(
            f"{captions}: holds captions already, and {named[0]} says how to make them", hint="Leave one of them out."
        )
    if captions is None:
        model = evaluate.model or settings.caption.model or _own_model(workspace, reporter)
        check_name(model, workspace.root)
    name = (workspace.root / (model or "")).resolve().name if captions is None else captions.stem
    return EvaluateRequest(
        captions=None if captions is None else workspace.path(captions),
        model=model,
        references=workspace.path(evaluate.references),
        against=None if evaluate.against is None else workspace.path(evaluate.against),
        output=_own_folder(workspace, name, evaluate.references)
        if evaluate.output is None
        else workspace.path(evaluate.output),
    )


def _own_folder(workspace: Workspace, name: str, references: Path) -> Path:
    """Where results of these references are or may be: those of other references stay."""
    longer = "-".join([name, *references.parts[-2:-1], references.stem])
    folders = [workspace.path(Path("evaluation", each)) for each in (name, f"{name}-{references.stem}", longer)]
    own = str(workspace.path(references))
    return next((folder for folder in folders if _references_of(folder / FILE) in (None, own)), folders[-1])


def _references_of(file: Path) -> str | None:
    """What a result was made with; None: there is none that can be read."""
    try:
        return Evaluation.read(file).references
    except AuroraError:
        return None


def _own_model(workspace: Workspace, reporter: Reporter) -> str:
    """
    Raises:
        DataError: there is none.
    """
    try:
        return str(find_model(workspace, reporter))
    except DataError as error:
        raise DataError(
            f"no captions are named, and {error.message}",
            hint="aurora evaluate captions.jsonl --references references.jsonl",
        ) from error


def _captioning(evaluate: EvaluateSettings) -> list[str]:
    """The flags that are given of those that only captioning takes."""
    flags = {
        "--model": evaluate.model,
        "--media": evaluate.media,
        "--media-root": evaluate.media_root,
        "--token-kept-ratio": evaluate.token_kept_ratios,
        "--frames": evaluate.frames,
        "--shard": evaluate.shard,
    }
    return [flag for flag, value in flags.items() if value]
