"""What every section of the settings tree is made of."""

from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from aurora_cli.io.urls import is_url, scheme_of


def _as_list(value: object) -> object:
    """A lone value where a list is meant: `AURORA_DOWNLOAD__SPLITS=vision`, `splits: vision`."""
    return [value] if isinstance(value, str | Path | float | int) else value


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _no_truth(value: object) -> object:
    """`true` is 1.0 to pydantic."""
    if isinstance(value, bool):
        raise PydanticCustomError("float_type", "Input should be a valid number")
    return value


def _no_url(value: object) -> object:
    """As a `Path` a URL would lose a slash, and name a folder `s3:` of this machine."""
    if scheme_of(value) is not None:
        raise ValueError("it is a URL, and a path of this machine was expected")
    return value


def _of_bucket(value: str) -> str:
    scheme = scheme_of(value)
    if scheme is not None and not is_url(value):
        raise ValueError(f"{scheme}:// is not read here; a path was expected, or a bucket's URL (s3://, gs://, hf://)")
    return value


_PROMISES = frozenset((
    ".arrow", ".bin", ".bz2", ".csv", ".db", ".feather", ".gguf", ".gif", ".gz", ".htm", ".html", ".jpeg", ".jpg",
    ".json", ".jsonl", ".jsonlines", ".md", ".mp4", ".ndjson", ".onnx", ".parquet", ".pdf", ".pkl", ".png", ".pt",
    ".pth", ".safetensors", ".sqlite", ".srt", ".tar", ".tgz", ".tsv", ".txt", ".vtt", ".xlsx", ".xml", ".xz",
    ".yaml", ".yml", ".zip", ".zst",
))  # fmt: skip
"""How the names of files end that hold something known. Other endings, as of `llava-1.5`, promise nothing."""


def _writing(what: str, *own: str) -> AfterValidator:
    """For an output that holds `what` however it is named: a name that promises another format is refused."""

    def check(path: Path | str) -> Path | str:
        suffix = PurePosixPath(path).suffix.lower()
        if suffix in _PROMISES and suffix not in own:
            expected = f"a name that ends in {own[0]}" if own else f"a name without {suffix}"
            raise ValueError(f"{what} is written; {expected} was expected")
        return path

    return AfterValidator(check)


LocalPath = Annotated[Path, BeforeValidator(_no_url)]
PathOrUrl = Annotated[str, BeforeValidator(_as_text), AfterValidator(_of_bucket)]
"""A path as text, for as a `Path` a URL would lose a slash."""
JsonLinesOutput = Annotated[PathOrUrl, _writing("a file of JSON lines", ".jsonl", ".jsonlines", ".ndjson")]
HtmlOutput = Annotated[LocalPath, _writing("a page of HTML", ".html", ".htm")]
YamlOutput = Annotated[LocalPath, _writing("a file of YAML", ".yaml", ".yml")]
OutputFolder = Annotated[LocalPath, _writing("a folder")]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
Paths = Annotated[tuple[LocalPath, ...], BeforeValidator(_as_list)]
PathTexts = Annotated[tuple[Annotated[str, BeforeValidator(_no_url)], ...], BeforeValidator(_as_list)]
"""Paths as text, for something may stand behind them."""
PathsOrUrls = Annotated[tuple[PathOrUrl, ...], BeforeValidator(_as_list)]
FixedPrecision = Literal["fp32", "bf16", "fp16"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Dtype = Literal["float32", "bfloat16", "float16"]
Triple = tuple[float, float, float]
Number = Annotated[float, BeforeValidator(_no_truth)]
KeptRatio = Annotated[Number, Field(gt=0.0, le=1.0)]
KeptRatios = Annotated[tuple[KeptRatio, ...], BeforeValidator(_as_list)]
Counts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_as_list)]


class Mark(Enum):
    """What may be said of a setting beside its type and range, in its annotation."""

    MAY_CHANGE = "may change"
    """A run may go on with another value: its numbers do not depend on it, or only as far as the user means them to."""


Value = TypeVar("Value")
MayChange = Annotated[Value, Mark.MAY_CHANGE]


class Section(BaseModel):
    """A part of the tree: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)
