"""What extraction writes down about an archive: a receipt at the end, and lines on the way there."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field, SkipValidation

from aurora_cli.io.json_files import JsonLine, JsonObject, StoredModel

PER_PROCESS = {"shard", "scratch"}
"""Settings of `extract` that a receipt leaves out: what came of the archive is the same whatever they are."""

Name = Annotated[str, SkipValidation]
"""Of a file: bytes that are no text are in it as surrogates (PEP 383), which pydantic does not take for a string."""


class ExtractionReceipt(StoredModel):
    """What became of an archive."""

    WHAT: ClassVar[str] = "the receipt of an extracted archive"
    HINT: ClassVar[str | None] = "Remove it and run `aurora extract` again."

    archive: Name
    """Its path."""
    layout: str
    """`files` or `index`."""
    identity: str
    """A hash that another archive of that name would not have."""
    members: int = 0
    """Files and links."""
    bytes: int = 0
    """Of the files among them."""
    duplicates: int = 0
    """Names that came more than once; the last stays."""
    rejected: int = 0
    """Members that were refused: they are in `rejected.jsonl`."""
    broken: Name | None = None
    """Where and why the archive could not be read to its end."""
    nested: tuple[Name, ...] = ()
    """Members that are archives themselves; they stay packed."""
    samples: tuple[Name, ...] = ()
    """Some members, to notice that the output has been removed."""
    settings: JsonObject = Field(default_factory=dict)
    """Those of `extract`."""

    @property
    def is_clean(self) -> bool:
        return self.broken is None and self.rejected == 0


@dataclass
class Tally:
    """What one pass over an archive counts: what its receipt will say."""

    members: int = 0
    bytes: int = 0
    duplicates: int = 0
    rejected: int = 0
    broken: str | None = None
    nested: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)

    def receipt(self, archive: str, layout: str, identity: str, settings: JsonObject) -> ExtractionReceipt:
        return ExtractionReceipt(
            archive=archive,
            layout=layout,
            identity=identity,
            members=self.members,
            bytes=self.bytes,
            duplicates=self.duplicates,
            rejected=self.rejected,
            broken=self.broken,
            nested=tuple(self.nested),
            samples=tuple(self.samples),
            settings=settings,
        )


class RejectedMember(JsonLine):
    """A line of `rejected.jsonl`: a member that was left out, or - without its name and place - a broken archive."""

    WHAT: ClassVar[str] = "a line on a rejected member"

    archive: Name
    member: Name | None = None
    """Its name; none: the archive itself breaks off."""
    offset: int | None = None
    """Of its header, in the tar; of a zip, in the tar that `--layout index` makes of it. None: the archive itself, or a
    member that came from scratch and that the target does not take."""
    reason: Name
    """What follows the member's name in a sentence; of an archive: where and why it breaks off."""


class JournalHead(JsonLine):
    """The first line of a journal: what is being extracted."""

    WHAT: ClassVar[str] = "the head of a journal"

    identity: str
    layout: str
    boot: str | None = None
    """Of the machine, where nothing is synced: the journal is right as long as that lasts."""


class Progress(JsonLine):
    """A line of the journal: everything before `offset` of the tar is done, and durable."""

    WHAT: ClassVar[str] = "a line of a journal"

    offset: int = 0
    members: int = 0
    bytes: int = 0
    rejected: int = 0
    rejects_size: int = 0
    """Bytes of the list of rejected members."""

    def to_json(self) -> JsonObject:
        return self.model_dump(mode="json")


class SpentFile(JsonLine):
    """A line of `.spent.jsonl`: a file that was used up and deleted."""

    WHAT: ClassVar[str] = "a line on a file that was used up"

    name: Name
    size: int
    """Bytes that it had."""
    into: Name
    """What was made of it, relative to the folder."""
