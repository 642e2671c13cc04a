"""Which processes make which shards of a folder, and what is left to them: `shares.json`, until the folder is complete.

Shards are numbered in the order of the records and hold the same records however many processes there are: only who
makes them differs.
"""

import zlib
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

from aurora_cli.config.share import SHOWN, Share
from aurora_cli.data.token_store.manifest import COMPLETED_AGAIN
from aurora_cli.io.json_files import StoredModel

SHARES = "shares.json"


class SharedWork(StoredModel):
    """`shares.json`: how the shards of a folder that is not complete yet are shared among processes."""

    WHAT: ClassVar[str] = "a record of shared work"
    HINT: ClassVar[str | None] = COMPLETED_AGAIN

    count: int
    """Of shares."""
    first: int
    """The share that makes the first shard; the next makes the next, and so on round."""
    shards: int
    """That the folder is to have."""

    def is_made_by(self, share: Share, shard: int) -> bool:
        """Whether the share makes this shard."""
        return share.takes(self.first + shard)

    def shares_of(self, shards: Collection[int]) -> list[int]:
        """The shares that make these shards."""
        return sorted({(self.first + shard) % self.count for shard in shards})

    def missing(self, there: Collection[int]) -> list[int]:
        """The shares that have shards to make, if these are there."""
        return self.shares_of({*range(self.shards)} - {*there})


def shared_work(folder: Path, count: int) -> SharedWork:
    """How the shards of a folder are shared, before it is known how many they are.

    Folders of one shard each do not all begin with the same share.
    """
    return SharedWork(count=count, first=zlib.crc32(f"{folder.parent.name}/{folder.name}".encode()) % count, shards=0)


def what_to_type(shares: Collection[int], count: int) -> str:
    """What makes the shards that are missing."""
    typed = [f"--shard {Share(index, count)}" for index in shares]
    some = ", ".join(typed[:SHOWN]) + (", ..." if len(typed) > SHOWN else "")
    return f"aurora tokenize again, as before, with {some}"
