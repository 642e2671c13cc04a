"""What an HTTP status of the hub means to us, and how long it asks to wait."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from aurora_cli.errors import HostError

_ASKED_WAIT_LIMIT_S = 600.0


class TransientError(Exception):
    """The source failed in a way that passes; `retry_after_s` is what it asked to wait."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def translated_status(error: Any, what: str) -> HostError | TransientError:
    """The error to raise for huggingface_hub's `HfHubHTTPError`."""
    status = error.response.status_code
    if status in (401, 403):
        return HostError(
            f"{what}: the hub refuses it (HTTP {status})",
            hint="Set HF_TOKEN to a token that may read it, or: hf auth login",
        )
    if status in (408, 425, 429) or status >= 500:
        return TransientError(f"HTTP {status}", asked_wait_s(error.response.headers))
    return HostError(f"{what}: the hub answers HTTP {status}: {str(error).splitlines()[0]}")


def asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or as a date; else those until the hub's `RateLimit` resets.

    >>> asked_wait_s({"Retry-After": "7"})
    7.0
    >>> asked_wait_s({"RateLimit": '"resolvers";r=0;t=42'})
    42.0
    """
    from huggingface_hub.utils import parse_ratelimit_headers

    value = headers.get("Retry-After")
    if value is None:
        limit = parse_ratelimit_headers(headers)
        if limit is None or limit.remaining > 0:
            return None
        wait_s = float(limit.reset_in_seconds)
    else:
        try:
            wait_s = float(value)
        except ValueError:
            try:
                wait_s = parsedate_to_datetime(value).timestamp() - time.time()
            except ValueError:
                return None
    return min(max(wait_s, 0.0), _ASKED_WAIT_LIMIT_S)
