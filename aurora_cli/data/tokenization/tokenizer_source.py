"""Where a tokenizer comes from: a folder, or a repository on the hub."""

from pathlib import Path

from aurora_cli.config.workspace import Workspace
from aurora_cli.data.tokenization.tokenizer import TOKENIZER_FILES, TextTokenizer, load_tokenizer
from aurora_cli.errors import HostError, UsageError


def find_tokenizer(name: str, workspace: Workspace) -> TextTokenizer:
    """The tokenizer in the folder `name`, or in the hub's repository of that name.

    Raises:
        UsageError: there is neither.
        HostError: the hub cannot be reached.
        DataError: it is not a tokenizer.
    """
    folder = workspace.path(name)
    if folder.is_file():
        folder = folder.parent
    return load_tokenizer(folder if folder.is_dir() else fetch(name))


def fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(name, allow_patterns=list(TOKENIZER_FILES)))
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise UsageError(
            f"tokenizer: {name!r} is neither a folder nor a repository on the hub", hint="Give --tokenizer FOLDER."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise HostError(
            f"tokenizer: {name} cannot be fetched: {error}",
            hint="Check the network and HF_TOKEN, or give --tokenizer FOLDER.",
        ) from error
