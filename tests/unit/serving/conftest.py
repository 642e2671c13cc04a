"""One captioner and one service for all tests of the server."""

from collections.abc import Iterator

import pytest

pytest.importorskip("starlette", reason="starlette and uvicorn, of the extra `serve`, are not here")
pytest.importorskip("uvicorn", reason="starlette and uvicorn, of the extra `serve`, are not here")

from starlette.testclient import TestClient

from aurora_cli.captioning.captioner import Captioner
from aurora_cli.serving.app import Service
from tests.serving import URL, service_of, small_captioner


@pytest.fixture(scope="package")
def captioner(tmp_path_factory) -> Captioner:
    return small_captioner(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="package")
def service(captioner) -> Iterator[Service]:
    service = service_of(captioner)
    yield service
    service.close()


@pytest.fixture(scope="package")
def client(service) -> TestClient:
    return TestClient(service.app, base_url=URL)
