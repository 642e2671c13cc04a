"""Is a file there: listed folders answer as the system does, in bounded memory."""

import itertools
import random
from pathlib import Path

import pytest

from aurora_cli.data.importing import listing
from aurora_cli.data.importing.listing import Listings, found_at


def test_folders_that_had_to_go_are_asked_the_system_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_NAMES", 5)
    monkeypatch.setattr(listing, "REQUESTS_BEFORE_LISTING", 1)
    for folder, name in itertools.product("abc", "1234"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).touch()
    (tmp_path / "b/folder").mkdir()
    paths = [f"{folder}/{name}" for folder in ("a", "b", "c", "gone") for name in ("1", "4", "5", "folder")] * 20
    random.Random(0).shuffle(paths)
    listings = Listings(tmp_path)
    for path in paths:
        assert listings.find(path) == found_at(f"{tmp_path}/{path}")
        assert sum(names.count for names in listings._known.values()) == listings._count <= 5
