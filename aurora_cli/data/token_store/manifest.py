"""What a token store was made from and holds, as it is written beside the rows.

shards/part-00000/manifest.json   ShardManifest
merged/manifest.json              MergedManifest, what each shard says in `parts`
tokenize.json                     CompletionManifest, written when all shards are there
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator

from aurora_cli.config.workspace import media_root_of
from aurora_cli.data.token_store.rejected import current_reason
from aurora_cli.data.token_store.schema import MANIFEST
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import JsonObject, StoredModel, read_object

MADE_AGAIN = "Remove the damaged shard: aurora tokenize makes it again, and aurora merge-shards links it."
COMPLETED_AGAIN = "Run aurora tokenize again: it makes what is missing."

_FINGERPRINT = "fingerprint"
_T = TypeVar("_T")
Fingerprinted: TypeAlias = Annotated[_T, _FINGERPRINT]
"""A field that decides which records and which ids a shard holds: shards that differ in one do not go together."""


class ManifestEntry(BaseModel):
    """An object inside of a manifest."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class SourceFile(ManifestEntry):
    """An annotation file as it was when it was read."""

    path: str
    """Relative to the workspace if it lies in it, else absolute."""
    size: int
    """Bytes."""
    sha256: str
    frame_lists: Literal["separate", "clip"]
    """What its lists of images are: separate images, or the frames of one video."""
    media_root: str | None = None
    """Where its images and videos lie, as `path` is kept; none: beside it."""

    @property
    def media_root_path(self) -> str:
        """What the paths of its images and videos start from: relative to the workspace, or absolute."""
        given = None if self.media_root is None else Path(self.media_root)
        return media_root_of(Path(self.path), given).as_posix()

    def difference(self, other: "SourceFile") -> str | None:
        """In what `other`, whose name may be another, is not the same input; none: in nothing that matters."""
        if self.sha256 != other.sha256:
            return f"input: {other.path} had sha256 {self.sha256[:12]} and has {other.sha256[:12]}"
        if self.frame_lists != other.frame_lists:
            return f"frame_lists of {other.path}: {self.frame_lists}, not {other.frame_lists}"
        if self.media_root != other.media_root:
            return f"media_root of {other.path}: {self.media_root_path}, not {other.media_root_path}"
        return None


class Counts(ManifestEntry):
    """What became of the records of one shard, or of several."""

    read: int = 0
    kept: int = 0
    tokens: int = 0
    """In kept records; a placeholder counts one."""
    target_tokens: int = Field(
        default=0, validation_alias=AliasChoices("target_tokens", "taught"), serialization_alias="taught"
    )
    """Those with a label."""
    rejected: dict[str, int] = Field(default_factory=dict)
    """Records by reason."""

    @field_validator("rejected")
    @classmethod
    def _under_current_reasons(cls, rejected: dict[str, int]) -> dict[str, int]:
        return {current_reason(reason): count for reason, count in rejected.items()}

    @classmethod
    def total(cls, counts: Iterable["Counts"]) -> "Counts":
        """The sums of several."""
        sums: Counter[str] = Counter()
        rejected: Counter[str] = Counter()
        for each in counts:
            sums.update(read=each.read, kept=each.kept, tokens=each.tokens, target_tokens=each.target_tokens)
            rejected.update(each.rejected)
        return cls(**sums, rejected=dict(rejected))


class StoreManifest(StoredModel):
    """What the manifests of all shards of a folder, and of what is merged from them, say alike."""

    WHAT: ClassVar[str] = "a token store's manifest"
    SCHEMA_KEY: ClassVar[str] = "schema_version"

    tokenizer: str
    """Folder or hub id."""
    tokenizer_fingerprint: Fingerprinted[str]
    bos_token: str | None
    eos_token: str
    record_schema: Fingerprinted[str] = "auto"
    template: Fingerprinted[str]
    chat_template: Fingerprinted[str | None] = None
    """sha256 of the tokenizer's own template, where that is the template."""
    max_length: Fingerprinted[int]
    frames: Fingerprinted[int]
    batch_size: Fingerprinted[int]
    """Records a shard."""
    check_media: Fingerprinted[bool] = False
    inputs: Fingerprinted[tuple[SourceFile, ...]]

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
    lines: tuple[int, int]
    """The first and the last line (or element of an array) of the source."""
    media_root: str
    """What the paths of images and videos start from: relative to the workspace, or absolute."""
    counts: Counts
    data_sha256: str
    """Of the file of rows."""
    files: dict[str, int]
    """Size in bytes of every other file of the shard."""


class MergedShard(ManifestEntry):
    """What a merged folder's manifest says of one of its shards."""

    shard: str
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

    WHAT: ClassVar[str] = "the note that all shards are there"
    HINT: ClassVar[str | None] = COMPLETED_AGAIN

    shards: int = Field(ge=1)


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
