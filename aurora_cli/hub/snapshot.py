"""Repositories and files of the hub in huggingface_hub's cache."""

from collections.abc import Sequence
from pathlib import Path

from aurora_cli.hub.errors import HubRepo, hub_errors
from aurora_cli.io.atomic import disk_errors


def fetch_snapshot(repo: HubRepo, patterns: Sequence[str]) -> Path:
    """The folder with the repository's files that match a pattern; from the cache what is there already.

    Raises:
        UsageError: there is no such repository.
        HostError: the hub cannot be reached or does not let us in, or the disk is full.
    """
    from huggingface_hub import constants, snapshot_download

    with disk_errors(Path(constants.HF_HUB_CACHE)), hub_errors(repo.name, repo):
        return Path(snapshot_download(repo.name, allow_patterns=list(patterns)))


def fetch_file(repo: HubRepo, file: str) -> Path:
    """One file of a repository.

    Raises:
        DataError: the repository has no such file.
        UsageError: there is no such repository.
        HostError: the hub cannot be reached or does not let us in, or the disk is full.
    """
    from huggingface_hub import constants, hf_hub_download

    with disk_errors(Path(constants.HF_HUB_CACHE)), hub_errors(file, repo):
        return Path(hf_hub_download(repo.name, file))
