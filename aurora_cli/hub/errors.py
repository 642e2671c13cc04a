"""What huggingface_hub and its HTTP library raise, as our errors: one table for everything that is fetched or sent.

| what happens                                              | what it becomes                             |
|-----------------------------------------------------------|---------------------------------------------|
| no such repository or revision, or a name that is none    | UsageError: a name was given that is wrong  |
| a repository without a file that it should have           | DataError                                   |
| gated, refused, offline mode, out of reach                | HostError                                   |
| busy, a broken connection, an error of the server (5xx)   | TransientError for those who try again      |
|                                                           | (`retried=True`), HostError for the others  |
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from aurora_cli.errors import AuroraError, DataError, HostError, UsageError, reason_of
from aurora_cli.hub.waits import requested_wait_s

_REFUSED = (401, 403)
_PASSING = (408, 425, 429)
_PAGE = re.compile(r"https?://[^/]+/(?:datasets/)?([\w.-]+/[\w.-]+)(?:/(?:tree|blob|resolve)/.*)?/?")
_LOGIN = "Set HF_TOKEN, or: hf auth login"


class TransientError(Exception):
    """The source failed in a way that passes; `retry_after_s` is what it asks to wait."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class HubRepo(NamedTuple):
    """A repository of the hub as the user named it: for the messages about it."""

    name: str
    kind: Literal["model", "tokenizer", "data set"] = "model"
    revision: str = "main"
    endpoint: str | None = None
    """The hub's address; none: huggingface_hub's own (HF_ENDPOINT)."""
    instead: str = "a local folder"
    """What to give to do without the hub."""
    near_names: Callable[[], str] = str
    """`; did you mean ...?` for a name that leads nowhere; called only then."""

    @property
    def hub(self) -> str:
        from huggingface_hub import constants

        return self.endpoint or constants.ENDPOINT

    @property
    def page(self) -> str:
        return f"{self.hub}/{'datasets/' if self.kind == 'data set' else ''}{self.name}"


def id_in(address: str) -> str | None:
    """The id that the address of a repository's page has; None: it is no such address.

    >>> id_in("https://huggingface.co/datasets/owner/name/tree/main"), id_in("https://huggingface.co/owner/name")
    ('owner/name', 'owner/name')
    """
    found = _PAGE.fullmatch(address)
    return None if found is None else found[1]


@contextlib.contextmanager
def hub_errors(what: str, repo: HubRepo, *, retried: bool = False, writing: bool = False) -> Iterator[None]:
    """Raise what the hub's client raises in this block as one of our errors. Errors of the disk pass as they are.

    Args:
        what: the file that is fetched, or the repository's name if it is about all of it.
        repo: the repository, for the messages.
        retried: the caller tries again after a TransientError.
        writing: the block uploads, so that a refusal is about a token that may not write.

    Raises:
        UsageError: there is no such repository or revision.
        DataError: the repository has no file `what`.
        HostError: it is gated, the hub refuses, or it cannot be reached.
        TransientError: with `retried`, what may work at the next try.
    """
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except (
        errors.HFValidationError,
        errors.EntryNotFoundError,
        errors.XetDownloadError,
        httpx2.HTTPError,
        httpx2.StreamError,
        httpx2.InvalidURL,
        json.JSONDecodeError,
        OSError,
    ) as error:
        if _is_of_the_disk(_cause(error)):
            raise
        # No variable has either: an error and the frame that names it hold each other, and all that was received.
        raise _ours(_cause(error), what, repo, writing=writing, retried=retried) from error


def _ours(cause: Exception, what: str, repo: HubRepo, *, writing: bool, retried: bool) -> AuroraError | TransientError:
    from huggingface_hub import errors

    if writing and isinstance(cause, errors.HfHubHTTPError):
        return _refused_upload(cause, repo)
    ours = _translated(cause, what, repo)
    if isinstance(ours, TransientError) and (not retried or _is_out_of_reach(cause, what, repo)):
        return HostError(
            f"{repo.name}: {'' if writing else 'is not a folder here, and '}the hub did not answer: {ours}",
            hint=f"Check the network, HF_ENDPOINT and proxies, and run it again; or give {repo.instead}.",
        )
    return ours


def _cause(error: Exception) -> Exception:
    """What is behind `not in the cache either`, with which huggingface_hub covers most failures to fetch."""
    from huggingface_hub import errors

    while isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _is_of_the_disk(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno is not None


def _is_out_of_reach(error: Exception, what: str, repo: HubRepo) -> bool:
    """Nothing answers at all. While files are fetched it may pass: the hub was there before."""
    import httpx2

    return isinstance(error, httpx2.ConnectError) and what == repo.name


def _translated(error: Exception, what: str, repo: HubRepo) -> AuroraError | TransientError:
    import httpx2
    from huggingface_hub import errors

    match error:
        case errors.OfflineModeIsEnabled():
            return HostError(
                f"{repo.name}: offline mode is on (HF_HUB_OFFLINE)", hint=f"Unset it, or give {repo.instead}"
            )
        case errors.LocalTokenNotFoundError():
            return HostError(f"{repo.name}: the hub asks who you are", hint=_LOGIN)
        case errors.GatedRepoError():
            return HostError(
                f"{repo.name}: is gated: access is given by its owners, and not yet to you "
                "(the hub asks for a licence to be accepted)",
                hint=f"Ask for it at {repo.page}, then set HF_TOKEN or run: hf auth login",
            )
        case errors.RevisionNotFoundError():
            return UsageError(f"{repo.name}: has no branch, tag or commit {repo.revision!r}")
        case errors.RepositoryNotFoundError():
            return UsageError(
                f"{repo.name}: is no folder here and no {repo.kind} at {repo.hub}, or it is private{repo.near_names()}",
                hint=f"Give {repo.instead}; a private one needs HF_TOKEN, or: hf auth login",
            )
        case errors.HFValidationError():
            meant = id_in(repo.name)
            return UsageError(
                f"{repo.name}: is neither a local folder nor a name like owner/name ({reason_of(error)})",
                hint=f"Give {repo.instead}" if meant is None else f"The hub's name of it is {meant}",
            )
        case errors.RemoteEntryNotFoundError():
            return DataError(f"{repo.name}: this repository of the hub has no {what}")
        case errors.HfHubHTTPError():
            return _translated_status(error, what)
        case httpx2.ConnectError():
            return TransientError(f"{repo.hub} cannot be reached: {reason_of(error)}")
        case errors.FileMetadataError() | json.JSONDecodeError():
            return HostError(
                f"{what}: {repo.hub} does not answer as a hub does: {reason_of(error)}",
                hint="Check HF_ENDPOINT and proxies.",
            )
        case _:
            return TransientError(f"{type(error).__name__}: {reason_of(error)}")


def _translated_status(error: Exception, what: str) -> HostError | TransientError:
    from huggingface_hub import errors

    assert isinstance(error, errors.HfHubHTTPError)
    status = error.response.status_code
    if status in _REFUSED:
        return HostError(
            f"{what}: the hub refuses it (HTTP {status})",
            hint="Set HF_TOKEN to a token that may read it, or: hf auth login",
        )
    if status in _PASSING or status >= 500:
        return TransientError(f"HTTP {status}", requested_wait_s(error.response.headers))
    return HostError(f"{what}: the hub answers HTTP {status}: {reason_of(error)}")


def _refused_upload(error: Exception, repo: HubRepo) -> HostError:
    from huggingface_hub import errors

    assert isinstance(error, errors.HfHubHTTPError)
    status = error.response.status_code
    may_not = status in _REFUSED or isinstance(error, errors.RepositoryNotFoundError)
    return HostError(
        f"{repo.name}: the hub does not take it (HTTP {status}): {reason_of(error)}",
        hint="`hf auth login` with a token that may write." if may_not else "Run it again: it continues.",
    )
