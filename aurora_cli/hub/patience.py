"""How often, and after how long, what failed in passing is tried again: one rule for the hub, mirrors and buckets."""

from typing import NamedTuple

LONGEST_WAIT_S = 60.0


class Patience(NamedTuple):
    """Tries after the first, and the seconds before the second; each later wait is twice as long."""

    retries: int = 5
    wait_s: float = 1.0

    def wait_before(self, retry: int, requested_s: float | None = None) -> float:
        """Seconds before the `retry`-th try after the first; as many as the other side asks for, if it does.

        >>> [Patience().wait_before(retry) for retry in (1, 2, 3, 9)], Patience().wait_before(1, 7.0)
        ([1.0, 2.0, 4.0, 60.0], 7.0)
        """
        return min(self.wait_s * 2 ** (retry - 1), LONGEST_WAIT_S) if requested_s is None else requested_s
