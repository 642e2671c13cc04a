"""What there is of the parts of a file of captions, as commands say it."""

from dataclasses import dataclass
from pathlib import Path

from aurora_cli.captioning.job.merge_parts import PartsState, shares_to_type
from aurora_cli.config.share import shares_named
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.io.urls import is_url, join, name_of, parent_of


@dataclass(frozen=True)
class PartsResult:
    """An output and its parts."""

    output: str
    count: int
    missing: tuple[int, ...]
    """Shares without a whole part."""
    different: tuple[int, ...]
    """Shares with a part of another list of media, another model, or other settings."""
    captions: int
    """In the output, once all parts are there."""
    rejected: int
    merged: bool
    """False: it was merged before, or parts are missing."""

    @property
    def is_whole(self) -> bool:
        return not self.missing and not self.different

    def lines(self) -> list[str]:
        if not self.is_whole:
            return [f"{self.output}: {self.why()}"]
        done = "" if self.merged else " (nothing to do: they were merged before)"
        lines = [f"{self.output}: {self.captions:,} captions of {self.count:,} parts{done}"]
        if self.rejected:
            lines.append(f"{self.rejected:,} could not be captioned: {rejects_beside(self.output)}")
        return lines

    def why(self) -> str:
        """What keeps the output from being made."""
        whys = []
        if self.missing:
            whys.append(
                f"{len(self.missing):,} of {self.count:,} parts are not there yet: {shares_named(self.missing)}"
            )
        if self.different:
            whys.append(
                f"parts of another list of media, another model or other settings: {shares_named(self.different)}"
            )
        return "; ".join(whys)

    def hint(self) -> str:
        """What to type."""
        wanted = sorted({*self.missing, *self.different})
        return shares_to_type(self.output, wanted, self.count)


def rejects_beside(output: str) -> str:
    """
    >>> rejects_beside("out/captions.jsonl"), rejects_beside("s3://bucket/captions.jsonl")
    ('out/rejected.jsonl', 's3://bucket/captions.rejected.jsonl')
    """
    if is_url(output):  # beside other outputs, which have their own
        return join(parent_of(output), f"{Path(name_of(output)).stem}.{REJECTS_FILE}")
    return str(Path(output).parent / REJECTS_FILE)


def parts_result(output: Path, state: PartsState) -> PartsResult:
    return PartsResult(
        str(output), state.count, state.missing, state.different, state.captions, state.rejected, state.merged
    )
