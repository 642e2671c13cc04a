"""Records in which nothing is unusual: read at once, without looking for what the others may hold."""

from functools import lru_cache

from aurora_cli.data.annotations.keys import SHAPES, KeyCounts, KeyTable, looks_like
from aurora_cli.data.annotations.paths import IMAGE_KEYS, VIDEO_KEYS
from aurora_cli.data.annotations.records import ROLES, Message, Record, record_id
from aurora_cli.data.annotations.spans import may_be_part
from aurora_cli.io.json_files import JsonObject

NO_MEDIUM = ""
TAG = "<img>"
"""In front of a path among the words, as Qwen-VL had it."""


class PlainRecords:
    """Reads the records of a schema that have turns of texts, and at most one key of media, which gives paths.

    Nearly all records are so, and of most that are left out (`None`) it is seen at once. Reading these otherwise, with
    all that may stand in a record, gives the same and takes three times as long.
    """

    def __init__(self, keys: KeyTable, turns: str, role: str, text: str) -> None:
        self.known = frozenset(name for key in keys.keys for name in key.names) - {turns, "id"}
        self.turns, self.role, self.text = turns, role, text
        self.medium_of = lru_cache(SHAPES)(self._medium_of)

    def _medium_of(self, names: tuple[str, ...]) -> str | None:
        """The key that names the medium of a record with these keys; none: another of its keys may mean something."""
        media = [name for name in names if name in IMAGE_KEYS or name in VIDEO_KEYS]
        others = [name for name in names if name not in media and name != self.turns]
        if len(media) > 1 or any(name in self.known or looks_like(name) or may_be_part(name) for name in others):
            return None
        return media[0] if media else NO_MEDIUM

    def read(self, value: JsonObject, location: str, counts: KeyCounts | None) -> Record | None:
        """The record in an object, whose keys are added to `counts`; none: it is not plain."""
        medium, turns = self.medium_of(tuple(value)), value.get(self.turns)
        if medium is None or not isinstance(turns, list):
            return None
        messages: list[Message] = []
        for turn in turns:
            if not isinstance(turn, dict) or len(turn) != 2:
                return None
            given, text = turn.get(self.role), turn.get(self.text)
            role = ROLES.get(given) if isinstance(given, str) else None
            if role is None or not isinstance(text, str) or (role == "system" and messages):
                return None
            messages.append(Message(role, text))
        name = record_id(value, location)
        if medium is NO_MEDIUM:
            return None if any(TAG in one.text for one in messages) else Record(name, None, None, messages)
        given, is_image = value[medium], medium in IMAGE_KEYS
        paths = paths_in(given)
        if not paths or not (is_image or isinstance(given, str)):
            return None
        if counts is not None:
            counts.read[medium] += 1
        return Record(name, paths, None, messages) if is_image else Record(name, None, paths[0], messages)


def paths_in(given: object) -> list[str]:
    """The paths that a value is or lists; empty: it is or lists something else, or what may be an address."""
    values = given if isinstance(given, list) else [given]
    paths = [path for path in values if isinstance(path, str) and path and ":" not in path]
    return paths if len(paths) == len(values) else []
