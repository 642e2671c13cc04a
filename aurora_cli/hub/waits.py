"""How long a busy hub asks to be left alone."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_LIMIT_S = 600.0


def requested_wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or as a date; else those until the hub's `RateLimit` resets.

    >>> requested_wait_s({"Retry-After": "7"})
    7.0
    >>> requested_wait_s({"RateLimit": '"resolvers";r=0;t=42'})
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
    return min(max(wait_s, 0.0), _LIMIT_S)
