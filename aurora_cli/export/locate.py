"""From what a user calls a model - a folder, a file, a hub id - to a path on this machine."""

import re
from pathlib import Path

from aurora_cli.errors import DataError, HostError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WANTED = ("*.json", "*.jinja", "*.model", "*.txt", "*.safetensors", "*/*.json", "*/*.safetensors")
_PICKLED = ("*.bin", "*/*.bin")


def locate(name: str | Path, root: Path | None = None) -> Path:
    """The folder or file that `name` is, fetched from the hub (into its cache) if nothing local has that name.

    Raises:
        DataError: there is no such file, nor such a repository.
        HostError: the hub cannot be reached.
    """
    path = Path(name).expanduser()
    for candidate in (path if root is None else root / path, path):
        if candidate.exists():
            return candidate
    text = str(name)
    if not _HUB_ID.fullmatch(text) or Path(text).parent.exists():
        raise DataError(f"{name}: there is no such folder or file")
    return _from_hub(text)


def _from_hub(repo: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(repo, allow_patterns=list(_WANTED)))
        if not any(folder.rglob("*.safetensors")):  # only old repositories lack them; both would be twice the bytes
            folder = Path(snapshot_download(repo, allow_patterns=[*_WANTED, *_PICKLED]))
        return folder
    except GatedRepoError as error:
        raise HostError(
            f"{repo}: the hub asks for a licence to be accepted", hint="Accept it, then `hf auth login`."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise DataError(f"{repo}: is neither a folder here nor a repository on the hub") from error
    except Exception as error:  # huggingface_hub passes on whatever its HTTP library raises
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise HostError(
            f"{repo}: is not a folder here, and the hub did not answer: {first}",
            hint="Name a local folder, or check the network, HF_ENDPOINT and HF_TOKEN.",
        ) from error
