"""A data set repository on a hub.

Its files come as plain HTTP ranges over `huggingface_hub`'s own session (endpoint, token, proxies, offline mode): its
`hf_hub_download` begins a 43 GB part anew after a crash, this goes on inside it. A redirect to storage elsewhere loses
the token, as httpx drops it when the origin changes.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from aurora_cli.console import Advance
from aurora_cli.data.archives.finding.names import archive_of
from aurora_cli.data.download.manifest import RemoteFile
from aurora_cli.data.download.origin import Origin
from aurora_cli.data.download.origins import PUBLISHED_SET, origins_of
from aurora_cli.data.download.partial_file import PartialFile
from aurora_cli.data.download.selection import did_you_mean
from aurora_cli.errors import HostError
from aurora_cli.hub.errors import HubRepo, TransientError, hub_errors
from aurora_cli.hub.patience import Patience
from aurora_cli.hub.session import hub_session

REPO_TYPE = "dataset"
_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30.0
"""Silence of a connection that ends it, unless HF_HUB_DOWNLOAD_TIMEOUT says otherwise."""

T = TypeVar("T")


class HubSource:
    """A data set repository, as it is at one commit.

    Raises:
        UsageError: there is no such repository or revision; the message has near names
        HostError: the hub cannot be reached, or does not let us in
    """

    def __init__(self, repo: str, revision: str, *, retries: int, retry_wait_s: float) -> None:
        from huggingface_hub import HfApi

        self.name = repo
        self._patience = Patience(retries, retry_wait_s)
        self._endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
        self._timeout_s = float(os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT") or _TIMEOUT_S)
        self._api = HfApi(endpoint=self._endpoint)
        self._repo = HubRepo(
            repo, "data set", revision, self._endpoint, instead="a local folder: --repo DIR", near_names=self._near
        )
        info = self._patiently(lambda: self._api.dataset_info(repo, revision=revision, timeout=self._timeout_s))
        self.commit = info.sha or revision
        licence = info.card_data.license if info.card_data is not None else None
        self._licence = licence if isinstance(licence, str) else "not stated"

    def files(self) -> list[RemoteFile]:
        from huggingface_hub.hf_api import RepoFile

        def listing() -> list[RemoteFile]:
            tree = self._api.list_repo_tree(self.name, repo_type=REPO_TYPE, revision=self.commit, recursive=True)
            return [
                RemoteFile(entry.path, entry.size, entry.lfs.sha256)
                if entry.lfs is not None
                else RemoteFile(entry.path, entry.size, None, entry.blob_id)
                for entry in tree
                if isinstance(entry, RepoFile)
            ]

        return self._patiently(listing)

    def origins(self, subset: str) -> tuple[Origin, ...]:
        """What is known of a subset of the published set; of others, what the repository's card says of it all."""
        known = origins_of(subset) if self.name.split("/")[-1] == PUBLISHED_SET else ()
        return known or (
            Origin(
                self.name, self._licence, self._repo.page, "of the repository; where this subset is from, is not known"
            ),
        )

    def equality(self, file: RemoteFile) -> str | None:
        return file.sha256 if archive_of(Path(file.path).name) is not None else None

    def sha256(self, file: RemoteFile) -> str | None:
        return file.sha256

    def read(self, file: RemoteFile, into: PartialFile, advance: Advance) -> None:
        from huggingface_hub import hf_hub_url, try_to_load_from_cache
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

        cached = try_to_load_from_cache(self.name, file.path, revision=self.commit, repo_type=REPO_TYPE)
        if into.position == 0 and isinstance(cached, str) and Path(cached).stat().st_size == file.size:
            _copy(Path(cached), into, advance)
            if into.is_right():
                return
            advance(-into.position)
            into.restart()

        url = hf_hub_url(self.name, file.path, repo_type=REPO_TYPE, revision=self.commit, endpoint=self._endpoint)
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        if into.position:
            headers["Range"] = f"bytes={into.position}-"

        def transfer() -> None:
            with hub_session().stream("GET", url, headers=headers, timeout=self._timeout_s) as response:
                if response.status_code == 416:  # what is here is longer than what is there
                    advance(-into.position)
                    into.restart()
                    raise TransientError("the requested range is not there")
                if response.headers.get("X-Error-Code") == "EntryNotFound":
                    raise HostError(f"{file.path}: is listed by the hub, but not there")
                hf_raise_for_status(response)
                if into.position and response.status_code != 206:
                    advance(-into.position)
                    into.restart()
                for content in response.iter_bytes():  # as it arrives: a size would lose what had come before a cut
                    into.write(content)
                    advance(len(content))
                    if into.position > file.size:
                        return

        if file.size != into.position or file.size == 0:
            with hub_errors(file.path, self._repo, retried=True):
                transfer()

    def _patiently(self, request: Callable[[], T]) -> T:
        for tries in range(self._patience.retries + 1):
            try:
                with hub_errors(self.name, self._repo, retried=True):
                    return request()
            except TransientError as error:
                if tries == self._patience.retries:
                    raise HostError(
                        f"{self.name}: the hub does not answer as it should after {tries + 1} tries: {error}",
                        hint="Run the same command again later; --retries N is more patient.",
                    ) from error
                time.sleep(self._patience.wait_before(tries + 1, error.retry_after_s))
        raise AssertionError("the loop returns or raises")

    def _near(self) -> str:
        """`; did you mean ...?`, from what the owner, and our default, are called."""
        from aurora_cli.config.settings import DownloadSettings

        default = DownloadSettings().repo
        names = {default}
        try:
            owner = self.name.split("/")[0] if "/" in self.name else default.split("/")[0]
            names |= {entry.id for entry in self._api.list_datasets(author=owner, limit=200)}
        except Exception:  # the hint is not worth a second failure
            names = {default}
        return did_you_mean(self.name, names)


def _copy(source: Path, into: PartialFile, advance: Advance) -> None:
    with open(source, "rb") as file:
        while content := file.read(_CHUNK_BYTES):
            into.write(content)
            advance(len(content))
