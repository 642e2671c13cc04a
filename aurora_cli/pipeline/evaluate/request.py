"""What `aurora evaluate` shall do, known before anything is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aurora_cli.checkpoints.locate import check_name
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace, check_folder
from aurora_cli.console import Reporter
from aurora_cli.errors import AuroraError, DataError, UsageError
from aurora_cli.evaluation.stored import FILE, Evaluation
from aurora_cli.io.urls import is_url, parts_of
from aurora_cli.runs.find import find_model
from aurora_cli.storage.copies import local_copy
from aurora_cli.storage.errors import shown


@dataclass(frozen=True)
class EvaluateRequest:
    """Captions that are there, or a model that captions first; and what they are compared with."""

    captions: Path | None
    model: str | None
    """One of the two is there."""
    references: Path
    against: Path | None
    output: Path
    urls: Mapping[Path, str] = field(default_factory=dict)
    """Where copies came from, of files that lie in a bucket."""

    def name_of(self, file: Path) -> str:
        """As the user names it."""
        return shown(self.urls[file]) if file in self.urls else str(file)

    @property
    def home(self) -> str | None:
        """The URL of the references, where they lie in a bucket."""
        return self.urls.get(self.references)


def resolve_request(settings: Settings, reporter: Reporter) -> EvaluateRequest:
    """What the settings ask for.

    Raises:
        UsageError: no references are named, or the output is a file.
        DataError: there is no such model, or none at all, or no such object.
        HostError: the store cannot be reached.
    """
    evaluate, workspace = settings.evaluate, Workspace(settings.workspace)
    if evaluate.references is None:
        raise UsageError(
            "no references are named", hint="aurora evaluate [captions.jsonl] --references references.jsonl"
        )
    captions, model = evaluate.captions, None
    if captions is None:
        model = evaluate.model or settings.caption.model or _own_model(workspace, reporter)
        check_name(model, workspace.root)
    if evaluate.output is not None:
        check_folder(workspace.path(evaluate.output), "evaluate.output")
    name = (workspace.root / (model or "")).resolve().name if captions is None else Path(captions).stem
    files = {
        given: local_copy(given, reporter) if is_url(given) else workspace.path(given)
        for given in (captions, evaluate.references, evaluate.against)
        if given is not None
    }
    return EvaluateRequest(
        captions=None if captions is None else files[captions],
        model=model,
        references=files[evaluate.references],
        against=None if evaluate.against is None else files[evaluate.against],
        urls={file: given for given, file in files.items() if is_url(given)},
        output=_own_folder(workspace, name, evaluate.references)
        if evaluate.output is None
        else workspace.path(evaluate.output),
    )


def _own_folder(workspace: Workspace, name: str, given: str) -> Path:
    """Where results of these references are or may be: those of other references stay."""
    references = Path(parts_of(given)[2] if is_url(given) else given)
    longer = "-".join([name, *references.parts[-2:-1], references.stem])
    folders = [workspace.path(Path("evaluation", each)) for each in (name, f"{name}-{references.stem}", longer)]
    own = shown(given) if is_url(given) else str(workspace.path(given))
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
