"""Objects inside of a token store's manifests: the files that it was made from, and counts."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator

from aurora_cli.config.workspace import media_root_of
from aurora_cli.data.token_store.rejected import current_reason


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


SUMS = ("read", "kept", "tokens", "target_tokens", "spans", "animated")
"""Those of the counts that are numbers."""


class Counts(ManifestEntry):
    """What became of the records of one shard, or of several."""

    read: int = 0
    """Records that were read."""
    kept: int = 0
    """Those that became rows."""
    tokens: int = 0
    """In kept records; a placeholder counts one."""
    target_tokens: int = Field(
        default=0, validation_alias=AliasChoices("target_tokens", "taught"), serialization_alias="taught"
    )
    """Those with a label."""
    rejected: dict[str, int] = Field(default_factory=dict)
    """Records by reason."""
    spans: int = 0
    """Kept records that are about a part of a video."""
    keys_read: dict[str, int] = Field(default_factory=dict)
    """Records by the keys of media, times, weights and roles that were read."""
    keys_warned: dict[str, int] = Field(default_factory=dict)
    """Records by the keys that look like one of these, and were not read."""
    animated: int = 0
    """Kept records with an image of several frames, of which the first is read; counted with `--check-media`."""

    @field_validator("rejected")
    @classmethod
    def _under_current_reasons(cls, rejected: dict[str, int]) -> dict[str, int]:
        return {current_reason(reason): count for reason, count in rejected.items()}

    @classmethod
    def total(cls, counts: Iterable["Counts"]) -> "Counts":
        """The sums of several."""
        sums: Counter[str] = Counter()
        rejected: Counter[str] = Counter()
        read: Counter[str] = Counter()
        warned: Counter[str] = Counter()
        for each in counts:
            sums.update({name: getattr(each, name) for name in SUMS})
            rejected.update(each.rejected)
            read.update(each.keys_read)
            warned.update(each.keys_warned)
        return cls(**sums, rejected=dict(rejected), keys_read=dict(read), keys_warned=dict(warned))
