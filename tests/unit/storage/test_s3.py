"""Objects of a real S3 server, through a proxy that counts what passes and breaks what it is told to."""

import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from aurora_cli.errors import DataError, HostError
from aurora_cli.hub.patience import Patience
from aurora_cli.storage import client, copies, objects
from aurora_cli.storage.copies import local_copy, local_folder
from aurora_cli.storage.objects import list_objects, put, read_pieces, remove, stat, stat_if_there
from tests.object_storage import CREDENTIALS, S3, forget_clients, needs_s3

pytestmark = [needs_s3, pytest.mark.slow]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(client, "PATIENCE", Patience(5, 0.01))


def test_what_is_known_of_objects_and_what_lies_in_a_folder(s3):
    s3.write("a/b.txt", b"one")
    s3.write("a/c/d.txt", b"three")
    s3.write("ab.txt", b"")
    assert stat(s3.url("a/b.txt")).size == 3
    assert stat_if_there(s3.url("a")) is None
    assert {name: found.size for name, found in list_objects(s3.url("a/")).items()} == {"b.txt": 3, "c/d.txt": 5}
    version = stat(s3.url("a/b.txt")).version
    s3.write("a/b.txt", b"two")
    assert stat(s3.url("a/b.txt")).version != version
    remove(s3.url("a/b.txt"))
    remove(s3.url("a/b.txt"))
    with pytest.raises(DataError, match=r"s3://bucket/a/b\.txt: there is no such object"):
        stat(s3.url("a/b.txt"))


def test_of_a_large_object_only_the_bytes_asked_for_travel(s3):
    content = os.urandom(1 << 20) * 20
    url = s3.write("large.bin", content)
    s3.proxy.received = 0
    assert b"".join(read_pieces(url, 7_000_000, 7_100_000)) == content[7_000_000:7_100_000]
    assert 100_000 <= s3.proxy.received < 101_500
    assert [request.range for request in s3.proxy.requests if request.range] == ["bytes=7000000-7099999"]


def test_a_body_that_breaks_off_is_asked_for_again_from_there(s3, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "PIECE", 100_000)
    content = os.urandom(1_000_000)
    url = s3.write("a.bin", content)
    s3.proxy.cuts += [50_000, 10**9, 70_000, 400]
    s3.proxy.received = 0
    assert local_copy(url).read_bytes() == content
    assert s3.proxy.received < 1_300_000


def test_a_copy_that_was_stopped_goes_on(s3, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "PIECE", 100_000)
    content = os.urandom(1_000_000)
    url = s3.write("a.bin", content)

    fetched: list[int] = []

    def stop(amount: int) -> None:
        fetched.append(amount)
        if sum(fetched) >= 600_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copies.fetch(url, stat(url), tmp_path / "a.bin", stop)
    assert not (tmp_path / "a.bin").exists()
    s3.proxy.received = 0
    copies.fetch(url, stat(url), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == content
    assert s3.proxy.received < 450_000


def test_a_store_that_is_busy_is_asked_again_and_given_up_in_the_end(s3, tmp_path, monkeypatch):
    url = s3.write("a.bin", b"content")
    s3.proxy.busy = 2
    assert local_copy(url).read_bytes() == b"content"
    assert s3.proxy.busy == 0
    monkeypatch.setattr(client, "PATIENCE", Patience(1, 0.01))
    forget_clients()
    s3.proxy.busy = 100
    with pytest.raises(HostError, match=r"s3://bucket/a\.bin: bucket bucket does not answer as it should: HTTP 503"):
        stat(url)
    assert s3.proxy.busy == 98


def test_a_slow_store_is_waited_for(s3):
    url = s3.write("a.bin", bytes(200_000))
    s3.proxy.bytes_per_s = 200_000
    assert sum(map(len, read_pieces(url, 0, 200_000))) == 200_000


def test_wrong_credentials_are_named_by_bucket_and_key_and_never_printed(s3):
    url = s3.write("a/b.bin", b"content")
    ask_for_credentials(s3, b"0")
    try:
        for call in (lambda: b"".join(read_pieces(url, 0, 3)), lambda: stat(url), lambda: put_text(url)):
            with pytest.raises(HostError) as caught:
                call()
            said = str(caught.value)
            assert said.startswith("s3://bucket/a/b.bin: bucket bucket does not let us ")
            assert "AWS_ACCESS_KEY_ID" in said
            assert not any(CREDENTIALS[name] in said for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    finally:
        ask_for_credentials(s3, b"inf")


def ask_for_credentials(s3: S3, requests_before: bytes) -> None:
    """Have the server know nobody, after so many requests."""
    address, plain = f"{s3.direct}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(address, requests_before, plain, method="POST")).read()


def put_text(url: str) -> None:
    put(Path(__file__), url)


def test_no_credentials_at_all(s3, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget_clients()
    with pytest.raises(HostError, match=r"s3://bucket/a: there are no credentials for bucket bucket"):
        stat(s3.url("a"))


def test_nobody_there(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(client, "PATIENCE", Patience(1, 0.01))
    forget_clients()
    with pytest.raises(HostError, match=r"s3://bucket/a: bucket bucket does not answer as it should"):
        stat(s3.url("a"))


def test_a_bucket_that_is_not_there(s3, tmp_path):
    (tmp_path / "a").write_text("a")
    with pytest.raises(DataError, match=r"there is no bucket other"):
        put(tmp_path / "a", "s3://other/a")


def test_a_folder_of_objects_is_here_whole_or_not_at_all(s3, monkeypatch):
    for name in ("config.json", "weights/one.bin", "weights/two.bin"):
        s3.write(f"model/{name}", name.encode() * 1000)
    monkeypatch.setattr(client, "PATIENCE", Patience(0, 0.01))
    s3.proxy.cuts += [10**9] * 2 + [300] * 9  # a listing, and the first object
    with pytest.raises(HostError):
        local_folder(s3.url("model/"))
    assert not [path for path in copies.cache_folder().rglob("model") if path.is_dir()]
    s3.proxy.cuts.clear()
    folder = local_folder(s3.url("model/"))
    assert (folder.name, (folder / "weights" / "two.bin").read_bytes()) == ("model", b"weights/two.bin" * 1000)
    requests = len(s3.proxy.requests)
    assert local_folder(s3.url("model/")) == folder
    assert len(s3.proxy.requests) - requests <= 2
    s3.write("model/config.json", b"{}")
    assert local_folder(s3.url("model/")) != folder


def test_an_upload_by_parts_that_is_killed_leaves_what_was_there_and_the_next_one_replaces_it(s3, tmp_path):
    url = s3.write("captions.jsonl", b"before")
    file = tmp_path / "captions.jsonl"
    file.write_bytes(os.urandom(1 << 20) * 33)
    s3.proxy.stalls = threading.Event()
    code = (
        "import sys, pathlib; from aurora_cli.storage.objects import put; put(pathlib.Path(sys.argv[1]), sys.argv[2])"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(file), url])
    assert s3.proxy.stalls.wait(30)
    child.send_signal(signal.SIGKILL)
    child.wait()
    s3.proxy.stalls = None
    assert s3.objects() == {"captions.jsonl": b"before"}
    s3.proxy.busy = 1
    put(file, url)
    assert s3.objects() == {"captions.jsonl": file.read_bytes()}
