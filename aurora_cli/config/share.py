"""Which share of a step's work this process does: one of N, by position in a list that all of them see alike.

A share depends on its number and the list alone, so that any of them can be made again by itself. It is taken where
somebody says so: `I/N`, or `auto`, by which SLURM's job arrays and the launchers that set RANK and WORLD_SIZE say it.
What the environment says is never taken unasked: a shell within an allocation has some of these variables too.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from aurora_cli.console import Reporter
from aurora_cli.errors import UsageError

AUTO = "auto"
PATTERN = r"(\d{1,9})/(\d{1,9})"
SAY_IT = "Say it: --shard $SLURM_ARRAY_TASK_ID/N, of N shares that are numbered from 0."


class Share(NamedTuple):
    """Share `index` of `count`, from 0."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """As files have it.

        >>> Share(2, 8).name
        '00002-of-00008'
        """
        return f"{self.index:05d}-of-{self.count:05d}"

    def takes(self, position: int) -> bool:
        """Whether the unit at this position of the list is in the share: every `count`-th is."""
        return position % self.count == self.index

    def split(self, index: int, count: int) -> "Share":
        """One of `count` shares of this share.

        >>> str(Share(1, 2).split(0, 3))
        '3/6'
        """
        return Share(self.index * count + index, self.count * count)


ALL = Share(0, 1)
"""The whole work."""

SHOWN = 20
"""Of many shares, as messages list them."""


class FoundShare(NamedTuple):
    """A share that the environment names, and how it does."""

    share: Share
    source: str


def _no_share(setting: str) -> str | None:
    """What is wrong with the name of a share, if anything.

    >>> _no_share("a/b")
    'a share is I/N, like 0/8 for the first of eight, or auto'
    >>> _no_share("8/8")
    'there is no such share; they are numbered from 0: 0/8 to 7/8'
    """
    if setting == AUTO:
        return None
    if (named := re.fullmatch(PATTERN, setting, re.ASCII)) is None:
        return "a share is I/N, like 0/8 for the first of eight, or auto"
    index, count = map(int, named.groups())
    if index < count:
        return None
    shares = f"0/{count} to {count - 1}/{count}" if count else "0/1 is all of the work"
    return f"there is no such share; they are numbered from 0: {shares}"


def _checked_name(setting: str) -> str:
    if (wrong := _no_share(setting)) is not None:
        raise ValueError(wrong)
    return setting


ShareName = Annotated[str, AfterValidator(_checked_name)]
"""`I/N` or `auto`, in the settings: wrong ones are refused before anything is done, and in a dry run."""


def share_of(setting: str | None, environ: Mapping[str, str] = os.environ) -> FoundShare | None:
    """The share that a setting names, `I/N` or `auto`; none: all of the work.

    Raises:
        UsageError: there is no such share, or the environment does not say which one is meant.
    """
    if setting is None:
        return None
    if setting == AUTO:
        if (found := share_in(environ)) is None:
            raise UsageError(
                "--shard auto: nothing says which share: neither SLURM_ARRAY_TASK_ID nor RANK and WORLD_SIZE are set,"
                " and it is no task of srun",
                hint="Say it: --shard 0/8 is the first of eight.",
            )
        return found
    if (wrong := _no_share(setting)) is not None:
        raise UsageError(f"--shard {setting}: {wrong}")
    index, _, count = setting.partition("/")
    return FoundShare(Share(int(index), int(count)), "--shard")


def take_share(setting: str | None, reporter: Reporter) -> Share | None:
    """The same for this process. What the environment says is reported, be it taken or not.

    Raises:
        UsageError: as `share_of`.
    """
    if (line := untaken_share(setting)) is not None:
        reporter.info(line)
    if (found := share_of(setting)) is None:
        return None
    if setting == AUTO:
        reporter.info(f"share {found.share}: {found.source}")
    return found.share


def share_in(environ: Mapping[str, str]) -> FoundShare | None:
    """The share that a job array, a launcher, or both (launched processes within the tasks of an array) make.

    Raises:
        UsageError: they contradict themselves, or the tasks of the array are not numbered from 0 or 1 without gaps.
    """
    found = [each for each in (_of_array(environ), _of_launcher(environ)) if each is not None]
    if not found:
        return None
    share = found[0].share
    for inner in found[1:]:
        share = share.split(*inner.share)
    return FoundShare(share, ", ".join(each.source for each in found))


def untaken_share(setting: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """A line for a process that looks like one of several and was not said to be one; it does all of the work."""
    if setting is not None:
        return None
    try:
        found = share_in(environ)
    except UsageError:
        return None
    if found is None or found.share.count == 1:
        return None
    return f"{found.source}: all of the work is done here; --shard auto takes share {found.share}"


def shares_named(shares: Sequence[int]) -> str:
    """
    >>> shares_named([3]), shares_named([1, 4])
    ('share 3', 'shares 1, 4')
    """
    some = ", ".join(map(str, shares[:SHOWN])) + (", ..." if len(shares) > SHOWN else "")
    return f"share {some}" if len(shares) == 1 else f"shares {some}"


def balanced_shares(sizes: Sequence[int], count: int) -> list[int]:
    """The share of each unit, so that shares have about the same size: the largest first, each to the smallest share.

    No share is larger than another by more than the largest unit; equal lists give equal shares.

    >>> balanced_shares([5, 1, 4, 2], 2)
    [0, 0, 1, 1]
    """
    loads = [0] * count
    shares = [0] * len(sizes)
    for unit in sorted(range(len(sizes)), key=lambda unit: (-sizes[unit], unit)):
        shares[unit] = loads.index(min(loads))
        loads[shares[unit]] += sizes[unit]
    return shares


def _of_array(environ: Mapping[str, str]) -> FoundShare | None:
    """A task of SLURM's job array. `--array=2,5` has COUNT 2: what starts some again says nothing of the others."""
    if "SLURM_ARRAY_TASK_ID" not in environ:
        return None
    task = _number(environ, "SLURM_ARRAY_TASK_ID")
    count = _number(environ, "SLURM_ARRAY_TASK_COUNT")
    first = _number(environ, "SLURM_ARRAY_TASK_MIN")
    last = _number(environ, "SLURM_ARRAY_TASK_MAX")
    if first not in (0, 1) or last != first + count - 1 or not first <= task <= last:
        raise UsageError(
            f"--shard auto: SLURM's array has {count} tasks, {first} to {last}, and this is {task}: shares can be read"
            " from arrays like 0-7 or 1-8",
            hint=SAY_IT,
        )
    return FoundShare(Share(task - first, count), f"task {task} of SLURM's array {first}-{last}")


def _of_launcher(environ: Mapping[str, str]) -> FoundShare | None:
    """A process of torchrun and its like, or a task of srun; a batch script and an allocation's shell are neither."""
    if "RANK" in environ or "WORLD_SIZE" in environ:
        return _checked(environ, "RANK", "WORLD_SIZE")
    in_step = "SLURM_STEP_ID" in environ or "SLURM_STEPID" in environ
    if in_step and "SLURM_PROCID" in environ and "SLURM_STEP_NUM_TASKS" in environ:
        return _checked(environ, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
    return None


def _checked(environ: Mapping[str, str], index: str, count: str) -> FoundShare:
    share = Share(_number(environ, index), _number(environ, count))
    if not 0 <= share.index < share.count:
        raise UsageError(f"--shard auto: {index}={share.index} and {count}={share.count} contradict each other")
    return FoundShare(share, f"{index}={share.index} of {count}={share.count}")


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except KeyError:
        raise UsageError(f"--shard auto: {name} is not set", hint=SAY_IT) from None
    except ValueError:
        raise UsageError(f"--shard auto: {name} is {environ[name]!r}; a whole number was expected") from None
