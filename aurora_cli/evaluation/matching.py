"""Which caption belongs to which references: by what both are known by, the exact names first."""

from collections.abc import Sequence
from typing import NamedTuple

from aurora_cli.evaluation.captions import CaptionOf
from aurora_cli.evaluation.references import ReferenceSet


class Matched(NamedTuple):
    """Captions with the references of their media, in the order of the references."""

    names: list[str]
    captions: list[CaptionOf]
    references: list[list[str]]
    captions_alone: list[str]
    """Captions of media that have no references; also a second caption of a medium."""
    references_alone: list[str]
    """Media with references and no caption."""
    media: Sequence[str] = ()
    """What the references call the media of `names`: of two files of captions, what names the same one."""

    def with_texts(self) -> "Matched":
        """Without the media that have no text to compare with, but questions for a judge."""
        at = [index for index, texts in enumerate(self.references) if texts]
        return self._replace(
            names=[self.names[index] for index in at],
            captions=[self.captions[index] for index in at],
            references=[self.references[index] for index in at],
            media=[self.media[index] for index in at],
        )


def match(captions: Sequence[CaptionOf], references: ReferenceSet) -> Matched:
    """Give every caption the references of its medium.

    A name that two media share (`a/1.jpg`, `b/1.jpg` are both `1.jpg`) says nothing, and is not gone by.
    """
    medium_of: dict[str, int | None] = {}
    for index, names in enumerate(references.names):
        for name in names:
            medium_of[name] = index if medium_of.get(name, index) == index else None
    for index, names in enumerate(references.names):
        medium_of[names[0]] = index  # its own name is not taken away by another's file name
    known: dict[str, int] = {}
    for caption in captions:
        for name in caption.names:
            known[name] = known.get(name, 0) + 1
    found: dict[int, CaptionOf] = {}
    alone: list[str] = []
    for caption in captions:
        own = [name for name in caption.names if known[name] == 1 or name == caption.names[0]]
        medium = next((at for name in own if (at := medium_of.get(name)) is not None), None)
        if medium is None or medium in found:
            alone.append(caption.names[0])
        else:
            found[medium] = caption
    order = sorted(found)
    return Matched(
        [found[at].names[0] for at in order],
        [found[at] for at in order],
        [references.texts[at] for at in order],
        alone,
        [names[0] for at, names in enumerate(references.names) if at not in found],
        [references.names[at][0] for at in order],
    )
