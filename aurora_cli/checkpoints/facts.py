"""`aurora.json` beside exported weights: how their tokens merge, what made them, and what they were written from.

Whoever opens the folder reads it, and so does the next `aurora convert`: this imports neither torch nor transformers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.section import Dtype
from aurora_cli.config.settings import ModelSettings
from aurora_cli.config.using import Layout, Quantization
from aurora_cli.data.download.origin import Origin
from aurora_cli.io.json_files import JsonObject, StoredModel

FACTS_FILE = "aurora.json"


class _Entry(BaseModel):
    """A part of the file: frozen, and as tolerant of what a later version adds as the whole."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class AnnotationFile(_Entry):
    """A file whose records a stage learned from."""

    path: str
    """Relative to the workspace."""
    sha256: str | None = None


class StageData(_Entry):
    """A folder of tokenized records that a stage learned from."""

    folder: str
    weight: float
    records: int
    files: tuple[AnnotationFile, ...] = ()
    """None: the folder is no longer there, or does not say."""
    origins: tuple[Origin, ...] = ()
    """None: nobody recorded them."""


class StageHistory(_Entry):
    """A stage of training that the weights went through."""

    stage: str
    step: int
    steps: int
    trained: tuple[str, ...]
    """Parts of the network."""
    data: tuple[StageData, ...] = ()


class Prompting(_Entry):
    """How training rendered prompts."""

    template: str
    frames: int
    """Taken from a video."""


@dataclass(frozen=True)
class LogitComparison:
    """One input through the source and through the export."""

    what: str
    difference: float
    """The largest of two logits."""
    bound: float

    @property
    def holds(self) -> bool:
        return self.difference <= self.bound


class Verification(_Entry):
    """Whether the export computes what its source does."""

    ok: bool
    differences: tuple[LogitComparison, ...] = ()
    reason: str | None = None
    """Why nothing could be compared."""


_LATER = ("token_kept_ratio", "quantization")
"""Of a request: what 0.1.0 did not know, and would take for another request."""


class ConvertRequest(_Entry):
    """What decides how an export looks. Settings that only a later version knows take part in a comparison."""

    model_config = ConfigDict(extra="allow")

    source: str
    format: Layout
    base: str | None
    safe_serialization: bool
    dtype: Dtype | None
    max_shard_size: str
    model: ModelSettings
    token_kept_ratio: float | None = None
    """Of a graph, whose shapes are fixed by it."""
    quantization: Quantization | None = None

    @model_serializer(mode="wrap")
    def _as_ever(self, write: SerializerFunctionWrapHandler) -> JsonObject:
        """A layout that has no use for them has the keys that it always had."""
        content: JsonObject = write(self)
        return {key: value for key, value in content.items() if value is not None or key not in _LATER}


class FileStamp(NamedTuple):
    """A file that has not changed has the same one."""

    size: int
    """Bytes."""
    modified_ns: int


class Receipt(_Entry):
    """What an export was made of, so that a second convert is a no-op."""

    request: ConvertRequest = Field(validation_alias="asked", serialization_alias="asked")
    sources: dict[str, FileStamp]
    """Files by their absolute paths."""
    files: dict[str, int]
    """Size of each file of the export, by its path in it."""


class WeightFacts(StoredModel):
    """What the file says of the weights beside it, for those who open them."""

    WHAT: ClassVar[str] = "what `aurora convert` writes beside weights"

    merging: TokenMerging | None = None
    """In a mixture of kept ratios, at the largest."""
    trained_ratios: tuple[float, ...] = Field(default=(), exclude_if=lambda ratios: not ratios)
    """The kept ratios of a mixture, ascending; none: that of `merging` is the only one."""
    model: ModelSettings | None = None
    history: tuple[StageHistory, ...] = ()
    """Oldest first."""
    prompting: Prompting | None = None


class ExportFacts(WeightFacts):
    """The whole file."""

    notes: tuple[str, ...] = ()
    """What a user should know of the export."""
    parameters: int = 0
    dtype: str = ""
    verification: Verification | None = Field(default=None, validation_alias="verified", serialization_alias="verified")
    """None: not verified yet."""
    receipt: Receipt


def file_stamps(paths: Iterable[Path]) -> dict[str, FileStamp]:
    """The stamp of every file by its absolute path; a folder stands for the files in it."""
    stamps: dict[str, FileStamp] = {}
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                status = file.stat()
                stamps[str(file.resolve())] = FileStamp(status.st_size, status.st_mtime_ns)
    return stamps
