"""What the hub says becomes the same error of ours whatever is fetched: a tokenizer, a model, a data set."""

import errno
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import errors

from aurora_cli.checkpoints.locate import locate, locate_config
from aurora_cli.config.workspace import Workspace
from aurora_cli.data.download.hub_source import HubSource
from aurora_cli.data.tokenization.tokenizer import find_tokenizer
from aurora_cli.errors import AuroraError, DataError, HostError, UsageError
from aurora_cli.hub.errors import HubRepo, TransientError, hub_errors
from tests.circles import circles_of
from tests.hub import running_hub

REQUEST = httpx2.Request("GET", "https://hub.example/me/it")
REPO = HubRepo("me/it", revision="v9", endpoint="https://hub.example")


def answer(kind: type[errors.HfHubHTTPError], status: int, **headers: str) -> errors.HfHubHTTPError:
    return kind("it says so", response=httpx2.Response(status, headers=headers, request=REQUEST))


def raised(error: Exception, what: str = "me/it", **options: bool) -> Exception:
    with pytest.raises((AuroraError, TransientError)) as caught, hub_errors(what, REPO, **options):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (answer(errors.RepositoryNotFoundError, 404), UsageError, "no model at https://hub.example, or it is private"),
        (answer(errors.RevisionNotFoundError, 404), UsageError, "no branch, tag or commit 'v9'"),
        (errors.HFValidationError("a/b/c"), UsageError, "nor a name like owner/name"),
        (answer(errors.RemoteEntryNotFoundError, 404), DataError, "has no me/it"),
        (answer(errors.GatedRepoError, 403), HostError, "access is given by its owners"),
        (answer(errors.HfHubHTTPError, 403), HostError, r"the hub refuses it \(HTTP 403\)"),
        (answer(errors.HfHubHTTPError, 410), HostError, "answers HTTP 410"),
        (errors.OfflineModeIsEnabled("off"), HostError, "offline mode is on"),
        (errors.LocalTokenNotFoundError("no token"), HostError, "asks who you are"),
        (httpx2.ConnectError("refused"), HostError, "https://hub.example cannot be reached: refused"),
        (json.JSONDecodeError("no JSON", "<html>", 0), HostError, "does not answer as a hub does"),
    ],
)
@pytest.mark.parametrize("retried", [True, False])
def test_what_another_try_would_not_change_is_an_error_at_once(error, expected, message, retried):
    found = raised(error, retried=retried)
    assert type(found) is expected
    with pytest.raises(expected, match=message):
        raise found


@pytest.mark.parametrize(
    "error",
    [
        answer(errors.HfHubHTTPError, 429),
        answer(errors.HfHubHTTPError, 503),
        httpx2.ReadTimeout("slow"),
        httpx2.RemoteProtocolError("cut"),
        OSError("Consistency check failed"),
    ],
)
def test_what_may_pass_is_left_to_those_who_try_again_and_an_error_for_the_others(error):
    assert isinstance(raised(error, retried=True), TransientError)
    found = raised(error)
    assert isinstance(found, HostError)
    assert "the hub did not answer" in str(found)


def test_a_busy_hub_says_how_long_to_wait():
    found = raised(answer(errors.HfHubHTTPError, 429, **{"Retry-After": "7"}), retried=True)
    assert isinstance(found, TransientError)
    assert found.retry_after_s == 7


def test_out_of_reach_passes_only_where_the_hub_was_there_before():
    assert isinstance(raised(httpx2.ConnectError("refused"), "a.bin", retried=True), TransientError)
    assert isinstance(raised(httpx2.ConnectError("refused"), "me/it", retried=True), HostError)


def test_what_lies_behind_a_file_that_is_not_in_the_cache_is_what_counts():
    def covered(cause: Exception) -> Exception:
        error = errors.LocalEntryNotFoundError("not in the cache either")
        error.__cause__ = cause
        return error

    assert "offline mode" in str(raised(covered(errors.OfflineModeIsEnabled("off"))))
    assert "cannot be reached" in str(raised(covered(httpx2.ConnectError("refused"))))
    assert "HTTP 503" in str(raised(covered(answer(errors.HfHubHTTPError, 503))))


def test_a_refused_upload_is_about_the_token_and_a_broken_one_is_worth_another_run():
    for refused in (answer(errors.HfHubHTTPError, 403), answer(errors.RepositoryNotFoundError, 401)):
        found = raised(refused, writing=True)
        assert isinstance(found, HostError)
        assert "may write" in str(found)
    assert "Run it again" in str(raised(answer(errors.HfHubHTTPError, 500), writing=True))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyError("a bug"), DataError("x")])
def test_errors_of_the_disk_bugs_and_our_own_pass_as_they_are(error):
    with pytest.raises(type(error)) as caught, hub_errors("me/it", REPO):
        raise error
    assert caught.value is error


FETCHES: dict[str, Callable[[str, Path], object]] = {
    "model": lambda name, folder: locate(name, folder),
    "config": lambda name, folder: locate_config(name, folder),
    "tokenizer": lambda name, folder: find_tokenizer(name, Workspace(folder)),
    "data set": lambda name, folder: HubSource(name, "main", retries=0, retry_wait_s=0),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FETCHES)
def test_unknown_and_gated_and_out_of_reach_are_the_same_for_whatever_is_fetched(kind, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the client's own attempts
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, "{}")
    with running_hub({"config.json": b"{}"}, repo="me/it", kind="datasets" if kind == "data set" else "models") as hub:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

        def fetch(name: str, url: str) -> None:
            monkeypatch.setenv("HF_ENDPOINT", url)
            monkeypatch.setattr(constants, "ENDPOINT", url)
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template.replace("{}", url, 1))
            FETCHES[kind](name, tmp_path)

        with pytest.raises(UsageError, match=r"me/other: is no folder here and no .*, or it is private"):
            fetch("me/other", hub.url)
        hub.faults.gated = True
        with pytest.raises(HostError, match="me/it: is gated"):
            fetch("me/it", hub.url)
        with pytest.raises(HostError, match=r"me/it: is not a folder here, and .*127\.0\.0\.1:9 cannot be reached"):
            fetch("me/it", "http://127.0.0.1:9")


@pytest.mark.parametrize("retried", [True, False])
def test_an_error_that_is_over_holds_nothing_of_what_was_received(retried):
    """A download goes on after a broken connection: 40 of them kept 50 MB."""

    def fetch() -> None:
        with suppress(TransientError, HostError), hub_errors("a.tar", REPO, retried=retried):
            raise httpx2.ReadError("broken off")

    assert circles_of(fetch) == set()
