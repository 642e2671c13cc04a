"""What can be wrong with a medium."""

from aurora_cli.errors import DataError


class UnreadableMedia(DataError):
    """An image or video that is missing, damaged or empty."""


class TooManyBytes(DataError):
    """A medium that is larger than what is fetched."""

    def __init__(self, name: str, size: str, max_bytes: int) -> None:
        super().__init__(f"{name}: has {size}; at most {max_bytes:,} bytes are fetched")


class MissingMedia(UnreadableMedia):
    """A record names an image or video that is nowhere."""
