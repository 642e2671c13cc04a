"""A data set that a subset was taken from, as it is told to the user and written into `download.json`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """A data set that a subset was taken from."""

    name: str
    licence: str
    """As its page states it."""
    url: str
    """Empty if there is no page."""
    note: str = ""
    """What the licence's name does not say."""
