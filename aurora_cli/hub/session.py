"""The hub client's HTTP session, with larger reads than it has by itself.

httpcore2, which huggingface_hub's HTTP library stands on, asks its socket for 64 KiB at a time, and has no setting for
it: only a number on its class. A MiB at a time, receiving 600 MB over loopback takes 1.26 s of a core instead of 1.60.
"""

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

READ_BYTES = 1 << 20
KNOWN_MAJOR = 2
"""Of httpcore2: in another, the number may mean something else, and is left alone."""


@lru_cache(maxsize=1)
def enlarge_reads() -> bool:
    """Have every HTTP/1.1 connection of this process read a MiB at a time; false: this httpcore2 is not known."""
    import httpcore2

    try:
        major = int(version("httpcore2").partition(".")[0])
    except (PackageNotFoundError, ValueError):
        return False
    connection = httpcore2.HTTP11Connection
    if major != KNOWN_MAJOR or not isinstance(getattr(connection, "READ_NUM_BYTES", None), int):
        return False
    connection.READ_NUM_BYTES = READ_BYTES
    return True


def hub_session() -> Any:
    """huggingface_hub's own session: its endpoint, token, proxies and offline mode."""
    from huggingface_hub.utils import get_session

    enlarge_reads()
    return get_session()
