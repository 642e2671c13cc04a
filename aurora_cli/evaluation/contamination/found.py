"""What the check found, as it is written and shown."""

from dataclasses import dataclass

LISTED = 3
"""Examples of a kind that are shown."""


@dataclass(frozen=True)
class Leak:
    """Something of the evaluation, and where in the training data it is found first."""

    id: str
    found: str
    what: str
    """The medium there, or the words."""


@dataclass(frozen=True)
class Found:
    """What of the evaluation stands in training data, a list a kind of likeness, each medium at most once in each."""

    equal_media: tuple[Leak, ...]
    """Byte for byte."""
    near_media: tuple[Leak, ...]
    """Nearly the same to look at, and not byte for byte."""
    equal_references: tuple[Leak, ...]
    """A reference that is a training caption, but for case, signs and spaces."""
    equal_captions: tuple[Leak, ...]
    """The model's own caption, likewise: it may be a memory."""
    records: int
    unread_records: int
    training_media: int
    """Different ones."""
    unread_media: int
    """Those that are not there or cannot be read."""
    not_here: tuple[str, ...]
    """Media of the evaluation whose files are not here, or cannot be read."""


@dataclass(frozen=True)
class Contamination:
    """What of the evaluation stands in training data."""

    data: tuple[str, ...]
    """What was looked through."""
    media: int
    """Of the evaluation."""
    has_looked: bool
    """Whether media were compared by how they look, not only byte for byte."""
    found: Found

    def lines(self) -> list[str]:
        """What a person reads of it."""
        found, named = self.found, ", ".join(self.data)
        lines = [f"contamination by {named} ({found.records:,} records, {found.training_media:,} images and videos):"]
        for what, leaks in self._kinds():
            lines.append(f"  {len(leaks):,} of {self.media:,} {what}")
            lines += [f"    {leak.id}: {leak.what} ({leak.found})" for leak in leaks[:LISTED]]
        if not self.has_looked:
            lines.append("  looks are not compared: evaluate.near_images is off, or pip install 'aurora-cli[evaluate]'")
        if found.not_here:
            names = ", ".join(found.not_here[:LISTED])
            lines.append(f"  {len(found.not_here):,} media of the evaluation are not here, and not compared: {names}")
        if found.unread_records or found.unread_media:
            lines.append(
                f"  not read: {found.unread_records:,} records, {found.unread_media:,} images and videos of the data"
            )
        return lines

    def counts(self) -> list[str]:
        """How much there is of each kind."""
        return [f"{len(leaks):,} of {self.media:,} {what}" for what, leaks in self._kinds()]

    def _kinds(self) -> list[tuple[str, tuple[Leak, ...]]]:
        found = self.found
        near = [("media look nearly the same", found.near_media)] if self.has_looked else []
        return [
            ("media are there byte for byte", found.equal_media),
            *near,
            ("media have a reference that is a training caption", found.equal_references),
            ("captions are a training caption, word for word", found.equal_captions),
        ]
