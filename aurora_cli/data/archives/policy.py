"""Which members of a stranger's archive may be written, decided from the header alone.

Together with writing through folders opened without following links (`safe_folder`), this keeps everything inside
the target: no path names something above it, and no link points out of it, now or after later members.
"""

import re

from aurora_cli.data.archives.reading.tar_header import Member

STATE_FOLDER = ".aurora"
"""Where extraction keeps its journals and receipts; no member may lie in it."""

PARTIAL_NAME = re.compile(r"\.aurora-[0-9a-f]{8}\.partial")
"""What a member is called while it is written; no member may be called so itself."""

NAME_BYTES = 255
PATH_BYTES = 4095
"""Linux's NAME_MAX, and PATH_MAX without its final NUL."""

_KIND_REASONS = {
    "device": "is a device",
    "fifo": "is a fifo",
    "unknown": "is of an unknown type",
}


def components(name: str) -> list[str]:
    """A member's path without the empty and `.` steps.

    >>> components("./a//b/")
    ['a', 'b']
    """
    return [step for step in name.split("/") if step not in ("", ".")]


def refusal(member: Member, *, root_bytes: int, reserved: frozenset[str] = frozenset()) -> str | None:
    """Why `member` must not be written below a root whose own path has `root_bytes`; none: it may.

    `reserved` are first steps that belong to others, such as the archive's own files.
    """
    steps = components(member.name)
    if (reason := _path_refusal(member.name)) is not None:
        return reason
    if member.kind != "folder" and not steps:
        return "has no name"
    if steps and (steps[0] == STATE_FOLDER or (len(steps) == 1 and steps[0] in reserved)):
        return "has the name of a file that is in use"
    if any(map(PARTIAL_NAME.fullmatch, steps)):
        return "has the name of a file that is in use"
    encoded = [step.encode("utf-8", "surrogateescape") for step in steps]
    if any(len(step) > NAME_BYTES for step in encoded) or root_bytes + sum(map(len, encoded)) + len(steps) > PATH_BYTES:
        return f"has a longer path than the {PATH_BYTES:,} bytes (or the {NAME_BYTES} a step) that a system takes"
    if member.damage is not None:
        return member.damage
    if member.kind in _KIND_REASONS:
        return _KIND_REASONS[member.kind]
    if member.kind == "symlink":
        return _symlink_refusal(member.link, depth=len(steps) - 1)
    if member.kind == "hardlink":
        if (reason := _path_refusal(member.link)) is not None:
            return f"links to {member.link!r}, which {reason}"
        if components(member.link) in ([], steps):
            return "links to itself"
    return None


def _path_refusal(path: str) -> str | None:
    if "\0" in path:
        return "has a NUL in its path"
    if path.startswith("/"):
        return "is an absolute path"
    if ".." in path.split("/"):
        return "leaves the target by '..'"
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "has a path that is no text"
    return None


def _symlink_refusal(link: str, depth: int) -> str | None:
    """A link may climb only at its start, and not above the root.

    `..` behind a name would be followed from wherever that name leads, which a later member can change.
    """
    if not link or "\0" in link:
        return "links to nothing"
    if link.startswith("/"):
        return f"links to {link!r}, an absolute path"
    steps = components(link)
    climbs = next((index for index, step in enumerate(steps) if step != ".."), len(steps))
    if climbs > depth or ".." in steps[climbs:]:
        return f"links to {link!r}, outside the target"
    return None
