"""What the libraries of buckets raise, as our errors. They name bucket and key, and no credentials.

| what happens                                            | what it becomes                       |
|---------------------------------------------------------|---------------------------------------|
| no such object or bucket                                | DataError                             |
| no library for such URLs                                | UsageError                            |
| its library is not installed                            | HostError with the line to type       |
| no credentials, wrong ones, or not allowed              | HostError                             |
| a broken connection or body, no answer in time          | TransientError for those who try again|
|                                                         | (`retried=True`), HostError for others|
| busy, or an error of the server, after the library's    | HostError                             |
| own tries                                               |                                       |
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from typing import Any

from aurora_cli.errors import AuroraError, DataError, HostError, UsageError
from aurora_cli.hub.errors import TransientError
from aurora_cli.io.urls import parts_of, protocol_of

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""By protocol, the extra of this package that brings its library."""

_LIBRARIES = (
    "aiohttp",
    "aiobotocore",
    "botocore",
    "gcsfs",
    "google",
    "azure",
    "httpx",
    "httpx2",
    "requests",
    "urllib3",
)
_LIBRARIES += ("huggingface_hub", "adlfs", "s3fs", "fsspec", "aiohttp_retry")
_PASSING = re.compile(r"Connect|Timeout|Payload|Streaming|Disconnected|IncompleteRead|ReadError|Protocol")
_NO_CREDENTIALS = re.compile(r"Credential|ProfileNotFound|SSO|TokenRetrieval|DefaultCredentials")
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_SECRETS = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY|CREDENTIAL|CONNECTION_STRING|ACCOUNT_KEY", re.IGNORECASE)
_LOGIN = {
    "s3": "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; a public bucket: FSSPEC_S3_ANON=true;"
    " another server than Amazon's: AWS_ENDPOINT_URL",
    "gcs": "Check GOOGLE_APPLICATION_CREDENTIALS, or: gcloud auth application-default login",
}


@contextlib.contextmanager
def storage_errors(url: str, *, writing: bool = False, retried: bool = False) -> Iterator[None]:
    """Raise what a bucket's library raises in this block as one of our errors. Errors of the disk pass as they are.

    Raises:
        DataError, UsageError, HostError: as above.
        TransientError: with `retried`, what may work at the next try.
    """
    try:
        yield
    except (AuroraError, TransientError):
        raise
    except Exception as error:
        ours = _translated(error, url, writing=writing)
        if ours is None:
            raise
        if isinstance(ours, TransientError) and not retried:
            ours = unanswered(url, str(ours))
        try:
            raise ours from error
        finally:
            del ours  # or it and this frame hold each other, and all that was received


def unanswered(url: str, reason: str) -> HostError:
    name = shown(url)
    return HostError(
        f"{name}: bucket {parts_of(name)[1]} does not answer as it should: {reason}",
        hint="Check the network and the bucket's address, and run the same command again: it continues.",
    )


def shown(url: str) -> str:
    """A URL without what stands for a user and a password in it, and without what may be a signature.

    >>> shown("sftp://me:secret@host/a.jsonl"), shown("s3://b/a.jsonl?X-Amz-Signature=1f")
    ('sftp://host/a.jsonl', 's3://b/a.jsonl')
    """
    return re.sub(r"^([^/]*://)[^/]*@", r"\1", url).partition("?")[0]


def _translated(error: Exception, url: str, *, writing: bool) -> AuroraError | TransientError | None:
    name, protocol = shown(url), protocol_of(url)
    _, bucket, key = parts_of(name)
    kind, status = type(error).__name__, _status(error)
    extra = EXTRAS.get(protocol)
    if isinstance(error, ImportError):
        how = f"pip install 'aurora-cli[{extra}]'" if extra else _first_line(error)
        return HostError(f"{name}: what reads {protocol}:// is not installed", hint=how)
    if isinstance(error, ValueError) and "rotocol not known" in str(error):
        return UsageError(
            f"{name}: nothing reads {protocol}://", hint="s3://, gs://, hf:// and others of fsspec are read."
        )
    login = _LOGIN.get(extra or "", "Check the credentials of this store.")
    if _NO_CREDENTIALS.search(kind):
        return HostError(f"{name}: there are no credentials for bucket {bucket} ({kind})", hint=login)
    if (isinstance(error, PermissionError) and error.filename is None) or status in (401, 403):
        doing = "write" if writing else "read"
        return HostError(f"{name}: bucket {bucket} does not let us {doing} {key or 'it'}: {_code(error)}", hint=login)
    if isinstance(error, FileNotFoundError) or status == 404:
        what = (
            f"there is no bucket {bucket}" if writing or _code(error) == "NoSuchBucket" else "there is no such object"
        )
        return DataError(f"{name}: {what}")
    if isinstance(error, OSError) and (error.errno in _OF_THE_DISK or error.filename is not None):
        return None
    if isinstance(error, ConnectionError | TimeoutError) or (_is_of_a_library(error) and _PASSING.search(kind)):
        return TransientError(f"{kind}: {_first_line(error)}")
    if isinstance(error, OSError) or _is_of_a_library(error):
        answered = "" if status is None else f"HTTP {status} "
        return unanswered(url, answered + _first_line(error))
    return None


def _is_of_a_library(error: Exception) -> bool:
    return any(each.__module__.partition(".")[0] in _LIBRARIES for each in type(error).__mro__)


def _response(error: BaseException | None) -> dict[str, Any]:
    """botocore's, which s3fs keeps as the cause."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response
    return {} if error is None or error.__cause__ is None else _response(error.__cause__)


def _status(error: Exception) -> int | None:
    status = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    for holder in (error, getattr(error, "response", None)):
        for name in ("status", "status_code", "code"):
            status = status if isinstance(status, int) else getattr(holder, name, None)
    return status if isinstance(status, int) else None


def _code(error: Exception) -> str:
    """What S3 calls it, or else the status."""
    code = _response(error).get("Error", {}).get("Code")
    if code and not str(code).isdigit():
        return str(code)
    status = _status(error)
    return "permission denied" if status is None else f"HTTP {status}"


def _first_line(error: Exception) -> str:
    """Without credentials: what servers and libraries quote may hold them."""
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = (message.strip().splitlines() or [type(error).__name__])[0]
    line = re.sub(r"(\w+://)[^/\s]*@", r"\1", re.sub(r"\?\S+", "", line))
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRETS.search(name):
            line = line.replace(value, f"${name}")
    return line
