"""What a token store was made from and holds, as it is written beside the rows.

shards/part-00000/manifest.json   ShardManifest
merged/manifest.json              MergedManifest, what each shard says in `parts`
tokenize.json                     CompletionManifest, written when all shards are there
"""

from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias, TypeVar

from pydantic import Field

from aurora_cli.data.token_store.entries import Counts, ManifestEntry, SourceFile
from aurora_cli.data.token_store.schema import MANIFEST
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import JsonObject, StoredModel, read_object

MADE_AGAIN = "Remove the damaged shard: aurora tokenize makes it again, and aurora merge-shards links it."
COMPLETED_AGAIN = "Run aurora tokenize again: it makes what is missing."

_FINGERPRINT = "fingerprint"
_T = TypeVar("_T")
Fingerprinted: TypeAlias = Annotated[_T, _FINGERPRINT]
"""A field that decides which records and which ids a shard holds: shards that differ in one do not go together."""


class StoreManifest(StoredModel):
    """What the manifests of all shards of a folder, and of what is merged from them, say alike."""

    WHAT: ClassVar[str] = "a token store's manifest"
    SCHEMA: ClassVar[int] = 2
    """1: summaries have no media keys; the keys of the manifests are the same."""
    SCHEMA_KEY: ClassVar[str] = "schema_version"

    tokenizer: str
    """Folder or hub id."""
    tokenizer_fingerprint: Fingerprinted[str]
    """sha256 of what the tokenizer was made from."""
    bos_token: str | None
    """Begins a text; none: the tokenizer has no such token."""
    eos_token: str
    """Ends a text."""
    record_schema: Fingerprinted[str] = "auto"
    """`tokenize.record_schema`: the form of the records."""
    template: Fingerprinted[str]
    """`tokenize.template`."""
    chat_template: Fingerprinted[str | None] = None
    """sha256 of the tokenizer's own template, where that is the template."""
    max_length: Fingerprinted[int]
    """Tokens of a row at most; a placeholder counts one."""
    frames: Fingerprinted[int]
    """Placeholders that a `<video>` became."""
    image_places: Fingerprinted[str] = "front"
    """`tokenize.image_places`: whether the images of a message went to its front."""
    batch_size: Fingerprinted[int]
    """Records a shard."""
    check_media: Fingerprinted[bool] = False
    """Whether records without their media were rejected."""
    inputs: Fingerprinted[tuple[SourceFile, ...]]
    """The annotation files of all shards, in order."""

    @classmethod
    def fingerprint_fields(cls) -> tuple[str, ...]:
        """The names of the fields that decide what a shard holds."""
        return tuple(name for name, field in cls.model_fields.items() if _FINGERPRINT in field.metadata)

    def differences(self, other: "StoreManifest") -> list[str]:
        """The settings in which two fingerprints differ, with both values, this one's first."""
        found = []
        for name in self.fingerprint_fields():
            value, wanted = getattr(self, name), getattr(other, name)
            if value == wanted:
                continue
            if name == "inputs":
                found += _input_differences(self.inputs, other.inputs)
            elif name == "tokenizer_fingerprint":
                found.append(f"tokenizer: {self.tokenizer} ({value[:12]}), not {other.tokenizer} ({wanted[:12]})")
            else:
                found.append(f"{name}: {value}, not {wanted}")
        return found


def _input_differences(before: tuple[SourceFile, ...], now: tuple[SourceFile, ...]) -> list[str]:
    if len(before) != len(now):
        return [f"input: {len(before)} files, not {len(now)}"]
    found = (old.difference(new) for old, new in zip(before, now, strict=True))
    return [difference for difference in found if difference is not None]


class TokenizeManifest(StoreManifest):
    """What a run of `tokenize` writes into all manifests of a folder."""

    settings: JsonObject = Field(default_factory=dict)
    """All of `tokenize`, as it was set."""


class ShardManifest(TokenizeManifest):
    """`manifest.json` of a shard."""

    WHAT: ClassVar[str] = "a shard's manifest"
    HINT: ClassVar[str | None] = MADE_AGAIN

    rows: int
    source: SourceFile
    """The file that its records come from."""
    lines: tuple[int, int]
    """The first and the last line (or element of an array) of the source."""
    media_root: str
    """What the paths of images and videos start from: relative to the workspace, or absolute."""
    counts: Counts
    """What became of its records."""
    data_sha256: str
    """Of the file of rows."""
    files: dict[str, int]
    """Size in bytes of every other file of the shard."""


class MergedShard(ManifestEntry):
    """What a merged folder's manifest says of one of its shards."""

    shard: str
    """The name of its folder."""
    rows: int
    media_root: str
    source: SourceFile
    lines: tuple[int, int]
    counts: Counts
    data_sha256: str
    size: int
    """Of the file of rows, in bytes."""


class MergedManifest(StoreManifest):
    """`manifest.json` of a merged folder."""

    WHAT: ClassVar[str] = "a merged folder's manifest"
    HINT: ClassVar[str | None] = "Remove the folder and run aurora merge-shards."

    rows: int
    media_root: str | None
    """Of all shards; none: they have several."""
    counts: Counts
    data_sha256: str
    """Of the shards' own hashes."""
    parts: tuple[MergedShard, ...]
    """The shards, in order."""


class CompletionManifest(TokenizeManifest):
    """`tokenize.json`: written when all shards of a folder are there."""

    WHAT: ClassVar[str] = "a record of a complete folder"
    HINT: ClassVar[str | None] = COMPLETED_AGAIN

    shards: int = Field(ge=1)
    """How many there are."""


def read_manifest(folder: Path) -> ShardManifest | MergedManifest:
    """The manifest of a shard or of a merged folder.

    Raises:
        DataError: there is none, it is damaged, or a later version wrote it.
    """
    path = folder / MANIFEST
    content = read_object(path, hint=MADE_AGAIN)
    return (MergedManifest if "parts" in content else ShardManifest).parse(content, path)


def merged_inputs(folder: Path) -> tuple[SourceFile, ...]:
    """The annotation files that a merged folder's rows come from; none where no manifest says so any more."""
    try:
        return MergedManifest.read(folder / MANIFEST).inputs
    except DataError:
        return ()
