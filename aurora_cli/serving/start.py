"""From settings to a server that runs: what `aurora serve` and `aurora caption --serve` share."""

import importlib.util
import os
import traceback
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import Settings
from aurora_cli.config.using import CaptionSettings
from aurora_cli.console import Reporter
from aurora_cli.errors import HostError, UsageError
from aurora_cli.imports import imported_at_once, without_compiler

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Served(NamedTuple):
    """What was served, when it has ended."""

    url: str
    captions: int
    """That were made on the page."""
    answers: int
    """Whole ones, of /v1/chat/completions."""


class Address(NamedTuple):
    """Where it is served, and who may come."""

    host: str
    port: int
    api_key: str | None = None


def check_installed() -> None:
    """
    Raises:
        HostError: what serves is not installed.
    """
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise HostError(
            f"serving takes {' and '.join(missing)}, not installed here", hint="pip install 'aurora-cli[serve]'"
        )


def check_address(host: str, api_key: str | None) -> None:
    """
    Raises:
        UsageError: it is no address; or others could use it, and no key is wanted of them.
    """
    name, colon, port = host.rpartition(":")
    if not host or (colon and ":" not in name):
        is_port = f"; a port is named by itself: --host {name} --port {port}" if colon else ""
        raise UsageError(f"--host {host!r}: is no address{is_port}")
    if host not in LOOPBACK and api_key is None:
        raise UsageError(
            f"--host {host}: whoever reaches this machine could use it, and no key is wanted",
            hint="Put a key into a variable and name it: --api-key-env AURORA_API_KEY",
        )


def api_key_of(variable: str | None) -> str | None:
    """
    Raises:
        UsageError: the variable is not set.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "")
    if not key.strip():
        raise UsageError(f"--api-key-env {variable}: is not set", hint=f"export {variable}=...")
    return key


def serve(
    settings: Settings,
    model: str,
    address: Address,
    caption: CaptionSettings,
    reporter: Reporter,
    media_root: Path | None,
) -> Served:
    """Serve until Ctrl-C or SIGTERM. `caption` has what a request does not say.

    Raises:
        DataError: the model is damaged.
        HostError: the port is taken.
        UsageError: the kept ratio cannot be reached.
    """
    with imported_at_once(), without_compiler():
        from aurora_cli.captioning.loading import build_captioner, slow_dtype
        from aurora_cli.captioning.options import options_of
        from aurora_cli.checkpoints.checkpoint import OpenOptions
        from aurora_cli.checkpoints.opening import open_checkpoint
        from aurora_cli.checkpoints.stated.processors import pixels_note
        from aurora_cli.models.config import beyond_trained
        from aurora_cli.serving.app import Service, ServiceLimits
        from aurora_cli.serving.engine import EngineLimits
        from aurora_cli.serving.guard import GuardRules
        from aurora_cli.serving.media import MediaLimits
        from aurora_cli.serving.server import bound_socket, serve_until_stopped, url_of

    own = settings.serve
    limits = ServiceLimits(
        EngineLimits(own.queue, own.max_batch_tokens, own.batch_size),
        MediaLimits(
            media_root,
            own.allow_remote,
            int(own.max_request_mb * 1e6),
            int(own.max_megapixels * 1e6),
            own.max_video_frames,
        ),
        GuardRules(
            address.api_key,
            int(own.max_request_mb * 1e6),
            int(caption.max_upload_mb * 1e6),
            loopback_only=address.host in LOOPBACK,
        ),
    )
    with bound_socket(address.host, address.port) as listening:
        checkpoint = open_checkpoint(model, OpenOptions(settings.workspace, None, settings.model))
        captioner = build_captioner(
            checkpoint,
            options_of(checkpoint, caption, settings.tokenize, settings.data),
            root=settings.workspace,
            fallback_tokenizer=settings.model.tokenizer,
            dtype=caption.dtype,
            device=caption.device,
            device_map=caption.device_map,
        )
        captioner.visual_tokens(1, captioner.options.merging)  # refuses a ratio that the tower cannot come down to
        if (note := pixels_note(checkpoint.path)) is not None:
            reporter.info(note)
        if warning := beyond_trained(captioner.options.merging.kept_ratio, captioner.trained_ratios):
            reporter.warning(warning)
        if (warning := slow_dtype(captioner)) is not None:
            reporter.warning(warning)
        service = Service(model, captioner, limits, lambda error: reporter.warning(_trace(error)), reporter.warning)
        url = url_of(listening)
        reporter.info(f"{model} captions in {captioner.dtype} at {url} (Ctrl-C ends it)")
        serve_until_stopped(service, listening, own.drain_s)
    answers = service.metrics.answers.get(("/v1/chat/completions", 200), 0)
    return Served(url, service.page.captions, answers)


def _trace(error: Exception) -> str:
    return "a request failed, which is a bug of aurora:\n" + "".join(traceback.format_exception(error))
