"""Media and an export that the tests of all servers share."""

import pytest

from tests.serve_check.captions import Media, Served, make_media, make_served


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Media:
    return make_media(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return make_served(tmp_path_factory.mktemp("plain"), "clip", "llama")
