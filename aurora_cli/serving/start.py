"""From settings to a server that runs: what `aurora serve` and `aurora caption --serve` share."""

import importlib.util
import os
import traceback
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import Settings
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


def serve(settings: Settings, model: str, address: Address, reporter: Reporter, media_root: Path | None) -> Served:
    """Serve until Ctrl-C or SIGTERM. `settings.caption` has what a request does not say.

    Raises:
        DataError: the model is damaged.
        HostError: the port is taken.
        UsageError: the kept ratio cannot be reached.
    """
    with imported_at_once(), without_compiler():
        from aurora_cli.captioning.job.source import CaptionerSource
        from aurora_cli.models.config import beyond_trained
        from aurora_cli.serving.app import Service, ServiceLimits
        from aurora_cli.serving.engine import EngineLimits
        from aurora_cli.serving.guard import GuardRules
        from aurora_cli.serving.media import MediaLimits
        from aurora_cli.serving.server import bound_socket, serve_until_stopped, url_of

    own = settings.serve
    max_request = int(own.max_request_mb * 1e6)
    limits = ServiceLimits(
        EngineLimits(queue=own.queue, tokens=own.max_batch_tokens, rows=own.batch_size),
        MediaLimits(
            root=media_root,
            allow_remote=own.allow_remote,
            max_bytes=max_request,
            max_pixels=int(own.max_megapixels * 1e6),
            max_video_frames=own.max_video_frames,
        ),
        GuardRules(
            api_key=address.api_key,
            max_body=max_request,
            max_upload=int(settings.caption.max_upload_mb * 1e6),
            loopback_only=address.host in LOOPBACK,
        ),
    )
    with bound_socket(address.host, address.port) as listening:
        captioner = CaptionerSource(settings, model, reporter).captioner
        captioner.visual_tokens(1, captioner.options.merging)  # refuses a ratio that the tower cannot come down to
        if warning := beyond_trained(captioner.options.merging.kept_ratio, captioner.trained_ratios):
            reporter.warning(warning)
        service = Service(model, captioner, limits, lambda error: reporter.warning(_trace(error)), reporter.warning)
        url = url_of(listening)
        reporter.info(f"{model} captions in {captioner.dtype} at {url} (Ctrl-C ends it)")
        serve_until_stopped(service, listening, own.drain_s)
    answers = service.metrics.answers["/v1/chat/completions", 200]
    return Served(url, service.page.captions, answers)


def _trace(error: Exception) -> str:
    return "a request failed, which is a bug of aurora:\n" + "".join(traceback.format_exception(error))
