"""One reader for every JSON object: what is damaged, foreign or newer is a DataError that names the file."""

import json
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from aurora_cli.errors import DataError
from aurora_cli.io.json_files import JsonObject, StoredModel, read_object


class Cake(StoredModel):
    WHAT: ClassVar[str] = "a cake"
    SCHEMA: ClassVar[int] = 2
    HINT: ClassVar[str | None] = "Bake it again."

    eggs: int
    flour_g: int = Field(alias="flour")

    @classmethod
    def upgrade(cls, content: JsonObject, schema: int) -> JsonObject:
        return {**content, "eggs": 12 * content["dozens"]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read"),
        ('{"eggs": 3', "cannot be read"),
        ("[1]", "holds a list; an object was expected"),
        ("[" * 100_000, "cannot be read"),
        ('{"schema": 2, "eggs": "many", "flour": 1}', "is not a cake: eggs: Input should be a valid integer"),
        ('{"schema": 2, "eggs": 3}', "is not a cake: flour: Field required"),
        ('{"schema": "two"}', "is not a cake: its schema is 'two'"),
    ],
)
def test_a_damaged_file_is_named_with_the_reason_and_what_to_do(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "cake.json").write_text(text)
    with pytest.raises(DataError, match=reason) as caught:
        Cake.read(tmp_path / "cake.json")
    assert caught.value.message.startswith(f"{tmp_path}/cake.json: ")
    assert caught.value.hint == "Bake it again."


def test_a_missing_file_is_an_error_or_none_as_asked(tmp_path: Path) -> None:
    assert Cake.read_if_there(tmp_path / "cake.json") is None
    with pytest.raises(DataError, match="is missing"):
        Cake.read(tmp_path / "cake.json")
    with pytest.raises(DataError, match="is missing"):
        read_object(tmp_path / "cake.json")


def test_what_is_written_is_read_back_with_its_schema_first(tmp_path: Path) -> None:
    cake = Cake(eggs=3, flour_g=250)
    cake.write(tmp_path / "cake.json")
    assert list(json.loads((tmp_path / "cake.json").read_text()).items()) == [
        ("schema", 2),
        ("eggs", 3),
        ("flour", 250),
    ]
    assert Cake.read(tmp_path / "cake.json") == cake


def test_an_older_schema_is_upgraded_and_a_newer_one_refused(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"schema": 1, "dozens": 2, "flour": 9}')
    (tmp_path / "unnumbered.json").write_text('{"dozens": 2, "flour": 9, "icing": true}')
    (tmp_path / "new.json").write_text('{"schema": 3}')
    assert Cake.read(tmp_path / "old.json") == Cake.read(tmp_path / "unnumbered.json") == Cake(eggs=24, flour_g=9)
    with pytest.raises(DataError, match="has schema 3; this version of aurora reads up to 2"):
        Cake.read(tmp_path / "new.json")
