"""How fast a run's steps come, and how long the others take."""

from collections import deque

HORIZON_S = 900.0
"""Over so long the rate is taken: a step of a minute still has one, and a pause for a checkpoint is spread."""

RESUMED_S = 1.0
"""What is reported first and so soon was done by an earlier run: it says nothing of the rate of this one."""

MOMENTS = 512
"""That are kept; of more within the horizon, each second one goes."""


class Pace:
    """Steps over time, by a clock that runs in seconds.

    >>> pace = Pace(0.0)
    >>> pace.add(70, 0.0)
    >>> pace.add(1, 25.0)
    >>> pace.add(1, 50.0)
    >>> pace.done, pace.rate, pace.left(100, 50.0), pace.left(100, 60.0)
    (72, 0.04, 700.0, 690.0)
    """

    def __init__(self, now: float) -> None:
        self.done = 0
        self._began = now
        self._first = True
        self._moments: deque[tuple[float, int]] = deque([(now, 0)])

    def add(self, amount: int, now: float) -> None:
        """So many steps more are done."""
        first, self._first = self._first, False
        self.done += amount
        if first and now - self._began < RESUMED_S:
            self._moments = deque([(self._began, amount)])
            return
        self._moments.append((now, self.done))
        while len(self._moments) > 2 and now - self._moments[1][0] > HORIZON_S:
            self._moments.popleft()
        if len(self._moments) > MOMENTS:
            self._moments = deque([*list(self._moments)[:-1:2], self._moments[-1]])

    @property
    def rate(self) -> float | None:
        """Steps a second; none: there is no step yet."""
        (began, earlier), (now, done) = self._moments[0], self._moments[-1]
        return (done - earlier) / (now - began) if done > earlier and now > began else None

    def left(self, total: int, now: float) -> float | None:
        """Seconds until `total` steps are done; none: nobody knows yet."""
        if self.rate is None:
            return None
        return max(0.0, (total - self.done) / self.rate - self.waited(now))

    def waited(self, now: float) -> float:
        """Seconds since the last step."""
        return now - self._moments[-1][0]

    def lasted(self, now: float) -> float:
        """Seconds since the beginning."""
        return now - self._began
