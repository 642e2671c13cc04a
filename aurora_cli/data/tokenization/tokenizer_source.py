"""Where a tokenizer comes from: a folder, or a repository on the hub."""

from pathlib import Path

from aurora_cli.config.workspace import Workspace
from aurora_cli.data.tokenization.tokenizer import TOKENIZER_FILES, TextTokenizer, load_tokenizer
from aurora_cli.hub.errors import HubRepo
from aurora_cli.hub.snapshot import fetch_snapshot


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
    """The folder of the tokenizer's files, from the hub's repository of that name.

    Raises:
        UsageError: there is no such repository.
        HostError: the hub cannot be reached.
    """
    return fetch_snapshot(HubRepo(name, "tokenizer", instead="a folder: --tokenizer FOLDER"), TOKENIZER_FILES)
