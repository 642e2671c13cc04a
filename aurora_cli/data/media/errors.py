"""What can be wrong with a medium."""

from aurora_cli.errors import DataError


class UnreadableMedia(DataError):
    """An image or video that is missing, damaged or empty."""


class MissingMedia(UnreadableMedia):
    """A record names an image or video that is nowhere."""
