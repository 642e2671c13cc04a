"""An export to a repository of the hub."""

from pathlib import Path

from aurora_cli.errors import UsageError
from aurora_cli.hub.errors import HubRepo, hub_errors


def check_repo(repo: str) -> None:
    """
    Raises:
        UsageError: `repo` is no name of a repository.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(f"--push-to-hub {repo}: is no name of a repository: {error}") from error


def push(folder: Path, repo: str, *, private: bool) -> str:
    """Upload `folder` as one commit, making the repository if there is none; the commit's address.

    What is there already, by its hash, is not sent again.

    Raises:
        HostError: the hub cannot be reached, or does not take it.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with hub_errors(repo, HubRepo(repo), writing=True):
        name = api.create_repo(repo, private=private, exist_ok=True).repo_id
        done = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message="aurora convert", ignore_patterns=".*"
        )
    return done.commit_url
