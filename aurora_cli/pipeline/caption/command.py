"""`aurora caption`: captions of images and videos, or a page to caption them on."""

from aurora_cli.config.settings import CaptionSettings, Settings
from aurora_cli.config.share import take_share
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import UsageError
from aurora_cli.io.urls import is_url
from aurora_cli.pipeline.caption.bucket import caption_into_bucket
from aurora_cli.pipeline.caption.on_ray import caption_on_ray
from aurora_cli.pipeline.caption.request import HOST, page_url, resolve_model, resolve_request
from aurora_cli.pipeline.caption.result import CaptionResult, ServeResult
from aurora_cli.pipeline.caption.work import caption_in_processes, caption_request
from aurora_cli.pipeline.result import Result
from aurora_cli.serving.start import Address, check_installed, serve
from aurora_cli.training.processes.heap import keep_freed_memory, use_huge_pages
from aurora_cli.training.processes.ranks import use_passive_openmp


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> Result:
    """Caption everything that can be read; the rest is listed, and makes the exit code 3. `serve`: open a page for it.

    Raises:
        UsageError: no media, a URL that was not allowed, or a folder without any; or another process writes the output;
            or media are named beside `serve`.
        DataError: there is no model, or it is damaged.
    """
    use_passive_openmp()
    use_huge_pages()
    keep_freed_memory()
    if settings.caption.serve:
        return _serve(settings, reporter, dry_run=dry_run)
    share = take_share(settings.caption.shard, reporter)
    if (url := settings.caption.output) is not None and is_url(url) and not dry_run:
        return caption_into_bucket(settings, url, lambda own: run(own, reporter), reporter, share)
    on_ray = settings.caption.engine == "ray"
    if not on_ray and (settings.caption.num_processes or 1) > 1:
        return caption_in_processes(settings, share, reporter, dry_run=dry_run)
    if on_ray and not dry_run:
        return caption_on_ray(settings, share, reporter)
    request = resolve_request(settings, reporter, share)
    if dry_run:
        media = len(request.media) if request.rows is None else request.rows.count()
        return CaptionResult(request.model, dry_run=True, media=media, share=None if share is None else str(share))
    return caption_request(settings, request, reporter)


def _serve(settings: Settings, reporter: Reporter, *, dry_run: bool) -> ServeResult:
    caption = settings.caption
    usual = CaptionSettings()
    names = ("media", "manifest", "output", "shard", "engine")
    if ignored := [name for name in names if getattr(caption, name) != getattr(usual, name)]:
        raise UsageError(
            f"--serve: captions what is dropped on the page, and caption.{ignored[0]} would say nothing",
            hint="Leave one of them out.",
        )
    model = resolve_model(settings, reporter)
    if dry_run:
        return ServeResult(model, page_url(settings.caption.port), dry_run=True)
    check_installed()
    served = serve(settings, model, Address(HOST, caption.port), reporter, media_root=None)
    return ServeResult(model, served.url, served.captions)
