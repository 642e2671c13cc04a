"""`aurora serve`: a captioner over HTTP, as OpenAI's clients talk to one, and a page."""

from dataclasses import dataclass
from pathlib import Path

from aurora_cli.checkpoints.locate import check_name
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import UsageError
from aurora_cli.pipeline.result import Result
from aurora_cli.runs.find import find_model
from aurora_cli.serving.start import Address, api_key_of, check_address, check_installed, serve
from aurora_cli.training.processes.heap import use_huge_pages


@dataclass(frozen=True)
class ServerResult(Result):
    """What was served, when it has ended."""

    model: str
    url: str
    answers: int = 0
    """Of /v1/chat/completions."""
    captions: int = 0
    """On the page."""
    dry_run: bool = False

    def lines(self) -> list[str]:
        if self.dry_run:
            return [f"Would serve {self.model} at {self.url}"]
        return [f"{self.answers:,} answers and {self.captions:,} captions by {self.model}"]


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> ServerResult:
    """Serve a captioner over HTTP until Ctrl-C: OpenAI's chat completions with images and videos, and a page.

    Raises:
        UsageError: no key where others could come, or a media root that is no folder.
        DataError: there is no model, or it is damaged.
        HostError: the port is taken, or what serves is not installed.
    """
    use_huge_pages()
    own, workspace = settings.serve, Workspace(settings.workspace)
    api_key = api_key_of(own.api_key_env)
    check_address(own.host, api_key)
    media_root = None if own.media_root is None else _folder(workspace.path(own.media_root))
    model = own.model or str(find_model(workspace, reporter))
    check_name(model, workspace.root)
    if dry_run:
        return ServerResult(model, f"http://{own.host}:{own.port}/", dry_run=True)
    check_installed()
    changes: dict[str, str | float] = {"device": own.device}
    if own.token_kept_ratio is not None:
        changes["token_kept_ratio"] = own.token_kept_ratio
    if own.dtype is not None:
        changes["dtype"] = own.dtype
    settings = settings.model_copy(update={"caption": settings.caption.model_copy(update=changes)})
    served = serve(settings, model, Address(own.host, own.port, api_key), reporter, media_root)
    return ServerResult(model, served.url, served.answers, served.captions)


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise UsageError(f"--media-root {path}: is no folder")
    return path
