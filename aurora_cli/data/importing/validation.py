"""Which side of the validation split a medium lies on: a hash of what it is, never of a caption.

So all captions of an image, all parts of a video, and all rows of a group lie on one side, in every run, whatever else
is imported.
"""

from collections.abc import Sequence
from hashlib import blake2b

from aurora_cli.data.annotations.records import Rejection

_ALL = 1 << 64


def is_for_validation(medium: str, share: float) -> bool:
    """
    >>> [is_for_validation("a.jpg", share) for share in (0.0, 0.999999)]
    [False, True]
    """
    return int.from_bytes(blake2b(medium.encode("utf-8", "surrogatepass"), digest_size=8).digest()) < share * _ALL


def side_of(media: Sequence[str], group: str | None, share: float) -> bool:
    """Whether a record is kept for validation.

    Raises:
        Rejection: one of its media is, and another is not.
    """
    if share == 0.0:
        return False
    if group is None and len(media) == 1:
        return is_for_validation(media[0], share)
    sides = {is_for_validation(medium, share) for medium in ([group] if group is not None else media)}
    if len(sides) > 1:
        raise Rejection("split_between", f"{len(media)} images")
    return sides.pop() if sides else False
