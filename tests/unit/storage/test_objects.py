"""What does not depend on the store: messages, names, copies."""

from contextlib import suppress

import pytest

from aurora_cli.errors import DataError, HostError, UsageError
from aurora_cli.hub.errors import TransientError
from aurora_cli.storage import client, copies
from aurora_cli.storage.copies import local_copy, local_folder
from aurora_cli.storage.errors import storage_errors
from aurora_cli.storage.objects import list_objects, put, read_pieces, stat
from tests.circles import circles_of


def test_a_copy_is_fetched_once_and_anew_after_a_change(memory, monkeypatch):
    url = memory.write("lists/a.jsonl", b"one")
    first = local_copy(url)
    assert (first.name, first.read_bytes()) == ("a.jsonl", b"one")
    monkeypatch.setattr(copies, "fetch", None)
    assert local_copy(url) == first
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(first.parents[4]))
    memory.write("lists/a.jsonl", b"two")
    assert local_copy(url).read_bytes() == b"two"


def test_an_object_that_changes_while_it_is_read_is_not_taken_for_what_was_there(memory, tmp_path):
    url = memory.write("a.bin", b"12345")
    known = stat(url)
    with pytest.raises(DataError, match="was changed while it was read"):
        copies.fetch(url, known, tmp_path / "a.bin", lambda amount: memory.write("a.bin", b"54321") and None)
    assert not [*tmp_path.glob("*a.bin*")]


def test_an_object_that_ends_before_it_should(memory):
    with pytest.raises(DataError, match="ends after 3 bytes; 9 were expected"):
        b"".join(read_pieces(memory.write("a.bin", b"123"), 0, 9))


def test_keys_that_would_lead_out_of_a_folder_are_refused(memory):
    memory.write("model/../../evil.txt", b"evil")
    memory.write("model/config.json", b"{}")
    with pytest.raises(DataError, match=r"memory://bucket/model/: has an object called \.\./\.\./evil\.txt"):
        local_folder(memory.url("model/"))
    assert not [*copies.cache_folder().rglob("evil.txt")]


def test_a_file_becomes_an_object(memory, tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    put(tmp_path / "a", memory.url("deep/a"))
    assert [*list_objects(memory.url())] == ["deep/a"]


def test_a_library_that_is_not_installed_is_named_with_the_line_to_type(monkeypatch):
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    for url, extra in (("s3://b/k", "s3"), ("gs://b/k", "gcs")):
        with pytest.raises(HostError, match="is not installed") as caught:
            client.client_of(url)
        assert caught.value.hint == f"pip install 'aurora-cli[{extra}]'"


def test_a_protocol_that_nobody_knows():
    with pytest.raises(UsageError, match="nothing reads nowhere://"):
        client.client_of("nowhere://b/k")


def test_what_a_library_quotes_is_said_without_secrets(monkeypatch):
    monkeypatch.setenv("AZURE_ACCOUNT_KEY", "c2VjcmV0LWtleQ==")
    said = "failed at https://me:pass@host/b/k?sig=c2Vj with c2VjcmV0LWtleQ== in it"
    with pytest.raises(HostError) as caught, storage_errors("abfs://me:pass@host/k?sig=1"):
        raise OSError(said)
    message = str(caught.value)
    assert "abfs://host/k: bucket host does not answer as it should: failed at https://host/b/k with $AZURE" in message
    assert not any(secret in message for secret in ("pass", "sig=", "c2VjcmV0LWtleQ=="))


def test_a_bug_stays_a_bug_and_a_full_disk_is_the_disks():
    for error in (TypeError("ours"), OSError(28, "No space left on device"), PermissionError(13, "no", "/local/file")):
        with pytest.raises(type(error)) as caught, storage_errors("s3://b/k"):
            raise error
        assert caught.value is error


@pytest.mark.parametrize("retried", [True, False])
def test_an_error_that_is_over_holds_nothing_of_what_was_received(retried):
    def fetch() -> None:
        with suppress(TransientError, HostError), storage_errors("s3://bucket/a.tar", retried=retried):
            raise ConnectionResetError("broken off")

    assert circles_of(fetch) == set()
