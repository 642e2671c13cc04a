"""JSON objects on disk: ours as typed models, everybody else's as plain objects, both read in one way.

StoredModel      a format of ours: frozen, with a schema number and a way up from older ones
JsonLine         a line of a file of ours
read_object      somebody else's object (config.json, tokenizer_config.json)
"""

import json
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from aurora_cli.errors import DataError, reason_of
from aurora_cli.io.atomic import write_json

JsonObject: TypeAlias = dict[str, Any]
"""An object whose keys are another program's to name. What has names of ours is a `StoredModel`."""


def read_object(path: Path, *, hint: str | None = None) -> JsonObject:
    """The JSON object in a file.

    Raises:
        DataError: the file is missing, cannot be read, is no JSON, or holds something else than an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: is missing", hint=hint) from None
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {reason_of(error)}", hint=hint) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}; an object was expected", hint=hint)
    return content


class NewerSchema(DataError):
    """A file of ours that a later version wrote: not damaged, and not to be replaced."""


class StoredModel(BaseModel):
    """A file of ours. A subclass says what it is, which schema it has, and how an older one becomes that.

    Keys that this version does not know are ignored: a file of a later version with the same schema still opens.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    WHAT: ClassVar[str]
    """What the file is, with its article, as messages name it: `a shard's manifest`."""
    SCHEMA: ClassVar[int] = 1
    """The schema that is written; older ones are read through `upgrade`."""
    SCHEMA_KEY: ClassVar[str] = "schema"
    """The key that holds the schema's number."""
    HINT: ClassVar[str | None] = None
    """What to do about a damaged one."""

    @classmethod
    def upgrade(cls, content: JsonObject, schema: int) -> JsonObject:
        """The content as it would be in the schema of this version; files without a number have schema 1."""
        return content

    @classmethod
    def parse(cls, content: JsonObject, path: Path) -> Self:
        """The model of an object that was read from `path`.

        Raises:
            DataError: it is not what it should be.
            NewerSchema: it was written by a later version.
        """
        schema = content.get(cls.SCHEMA_KEY, 1)
        if not isinstance(schema, int) or isinstance(schema, bool):
            raise DataError(f"{path}: is not {cls.WHAT}: its schema is {schema!r}", hint=cls.HINT)
        if schema > cls.SCHEMA:
            raise NewerSchema(
                f"{path}: has schema {schema}; this version of aurora reads up to {cls.SCHEMA}",
                hint="It was written by a newer aurora: use that one.",
            )
        try:
            return cls.model_validate(cls.upgrade(content, schema) if schema < cls.SCHEMA else content)
        except ValidationError as error:
            finding = error.errors(include_url=False)[0]
            where = ".".join(map(str, finding["loc"]))
            raise DataError(f"{path}: is not {cls.WHAT}: {where}: {finding['msg']}", hint=cls.HINT) from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """The model in a file.

        Raises:
            DataError: there is none, it is damaged, or it was written by a later version.
        """
        return cls.parse(read_object(path, hint=cls.HINT), path)

    @classmethod
    def read_if_there(cls, path: Path) -> Self | None:
        """The model in a file; none: there is no such file.

        Raises:
            DataError: it is damaged, or was written by a later version.
        """
        return cls.read(path) if path.is_file() else None

    def to_json(self) -> JsonObject:
        """The object that is written, its schema first."""
        return {self.SCHEMA_KEY: self.SCHEMA, **self.model_dump(mode="json", by_alias=True)}

    def write(self, path: Path) -> None:
        """Write it to `path`, whole or not at all."""
        write_json(path, self.to_json())


class JsonLine(StoredModel):
    """One line of a file of JSON objects: without a schema number, and without what is at its default."""

    def to_json(self) -> JsonObject:
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def to_line(self) -> str:
        """The object on a line of its own, with its end."""
        return json.dumps(self.to_json()) + "\n"
