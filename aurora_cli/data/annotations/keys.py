"""Which keys of a record are read, and what becomes of those that are not: no field is passed over in silence.

A schema has a `KeyTable`. What its reader uses is counted as read; a key that is in no table and looks as if it
mattered (a medium, a time, a weight, a role) is counted as a warning. docs/reference/record-keys.md shows the tables.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Literal, NamedTuple

from aurora_cli.data.annotations.records import Rejection, shortened

Use = Literal["read", "not needed", "warned of", "rejected"]
Kind = Literal["medium", "time", "weight", "role"]

GROUP = "group"
"""Key of what a record lies on one side of a split with, in every schema."""

SHAPES = 1_024
"""Lists of keys of which it is remembered what they mean: the records of a file have a few."""


class Key(NamedTuple):
    """Keys that mean the same, and what becomes of a record that has one."""

    names: tuple[str, ...]
    use: Use
    meaning: str
    """What it says, or why it is not read."""
    beside_video: bool = False
    """Only read in a record with a video, and warned of in others."""


GROUP_KEY = Key(
    (GROUP,),
    "read",
    "Records with the same text or number lie on one side of `data.validation_share` (crops of a photo).",
)


class KeyTable:
    """The keys of one object of a record that are known."""

    def __init__(self, *keys: Key) -> None:
        self.keys = keys
        quiet = [key for key in keys if key.use in ("read", "not needed") and not key.beside_video]
        self._quiet = frozenset(name for key in quiet for name in key.names)
        self._suspects = lru_cache(SHAPES)(self._find_suspects)
        self._loud = {name: key for key in keys if key.use in ("warned of", "rejected") for name in key.names}

    def unread(self, value: Mapping[str, object]) -> list[str]:
        """The keys of an object that are not read, and are known or look to mean something.

        Raises:
            Rejection: one of them changes what a model would learn.
        """
        found = []
        for name in self._suspects(tuple(value)):
            if not says_something(value[name]):
                continue
            key = self._loud.get(name)
            if key is not None and key.use == "rejected" and not key.beside_video:
                raise Rejection("unread_key", f"{name}: {shortened(value[name])}: {key.meaning}")
            found.append(name)
        return sorted(found)

    def _find_suspects(self, names: tuple[str, ...]) -> list[str]:
        """The keys that are not read, and are known or look to mean something: if they say something."""
        return [name for name in names if name in self._loud or (name not in self._quiet and looks_like(name))]


@dataclass
class KeyCounts:
    """Records by the keys that they have: those of media, times, weights and roles that were read, and were not."""

    read: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)

    def add(self, read: Iterable[str], warned: Iterable[str]) -> None:
        """Count a record."""
        self.read.update(read)
        self.warned.update(warned)


class Reading:
    """One record being read: how, and the keys that its reader comes by."""

    def __init__(self, *, in_order: bool = False) -> None:
        """`in_order`: images among the parts of a message stay between its words, and do not go to its front."""
        self.in_order = in_order
        self.read: set[str] = set()
        self.unread: set[str] = set()


def says_something(value: object) -> bool:
    """Whether a value is more than a place left empty.

    >>> [says_something(value) for value in (None, "", [], 0, False)]
    [False, False, False, True, True]
    """
    return bool(value) or (value is not None and not isinstance(value, str | list | dict))


WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

KINDS: dict[Kind, str] = {
    "medium": """
        image images img imgs picture pictures pic pics photo photos video videos vid vids clip clips frame frames audio
        audios media visual visuals depth file files filename filepath path paths gif base64 bytes crop
    """,
    "time": """
        start end begin stop time times timestamp timestamps sec secs second seconds ms span spans segment segments
        interval intervals moment moments window windows ts offset fps nframes trim cut
    """,
    "weight": "weight weights loss losses mask masks masked train trainable learnable ignore ignored",
    "role": "role roles system speaker author persona messages conversation conversations",
}
"""Words that a key of such a kind has."""

ABOUT = """
    id ids uid uuid width height size sizes hash md5 sha256 caption captions text texts title description source license
    licence category categories score scores similarity quality resolution type types format count length len duration
    index idx dataset num number tags label labels embedding info meta metadata question answer task topic ratio
"""
"""Words that make a key one about the medium, not the medium."""

_KINDS: dict[Kind, frozenset[str]] = {kind: frozenset(words.split()) for kind, words in KINDS.items()}
_ABOUT = frozenset(ABOUT.split())


@cache
def looks_like(name: str) -> Kind | None:
    """What an unknown key seems to be, by its words.

    >>> looks_like("img_file"), looks_like("startTime"), looks_like("image_width"), looks_like("data_source")
    ('medium', 'time', None, None)
    """
    words = words_of(name)
    if words & _ABOUT:
        return None
    return next((kind for kind, signs in _KINDS.items() if words & signs), None)


def words_of(name: str) -> set[str]:
    """
    >>> sorted(words_of("videoStart_sec"))
    ['sec', 'start', 'video']
    """
    return {word.lower() for word in WORDS.findall(name)}


def key_lines(read: Mapping[str, int], warned: Mapping[str, int]) -> list[str]:
    """What is shown of the keys of many records: those that were read, and those that were not."""
    lines = [f"  keys read: {_counted(read)}"] if read else []
    if warned:
        lines.append(f"  keys NOT read, that look as if they mattered: {_counted(warned)}")
    return lines


def _counted(keys: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(keys.items()))
