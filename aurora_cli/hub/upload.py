"""An export to a repository of the hub."""

from pathlib import Path

from aurora_cli.errors import HostError, UsageError


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
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    try:
        name = api.create_repo(repo, private=private, exist_ok=True).repo_id
        done = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message="aurora convert", ignore_patterns=".*"
        )
    except LocalTokenNotFoundError as error:
        raise HostError(f"{repo}: the hub asks who you are", hint="`hf auth login`, or set HF_TOKEN.") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no"
        hint = "`hf auth login` with a token that may write." if status in (401, 403) else "Run it again: it continues."
        raise HostError(f"{repo}: the hub does not take it ({status}): {_first(error)}", hint=hint) from error
    except Exception as error:  # huggingface_hub passes on whatever its HTTP library raises
        raise HostError(
            f"{repo}: the hub did not answer: {_first(error)}", hint="Check the network and HF_ENDPOINT; run it again."
        ) from error
    return done.commit_url


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
