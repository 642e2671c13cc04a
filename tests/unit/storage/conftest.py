from collections.abc import Iterator

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.object_storage import S3, Memory, needs_s3, s3_bucket, s3_server


@pytest.fixture(scope="package")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def s3(server, tmp_path, monkeypatch) -> Iterator[S3]:
    with s3_bucket(server, monkeypatch, tmp_path / "cache") as bucket:
        yield bucket


@pytest.fixture
def memory(tmp_path, monkeypatch) -> Iterator[Memory]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    MemoryFileSystem.store.clear()
    yield Memory()
    MemoryFileSystem.store.clear()


@pytest.fixture(params=["memory", pytest.param("s3", marks=needs_s3)])
def bucket(request) -> S3 | Memory:
    return request.getfixturevalue(request.param)
