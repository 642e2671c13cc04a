"""From what a user calls a model - a folder, a file, a hub id - to a path on this machine."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from aurora_cli.errors import DataError, HostError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WANTED = ("*.json", "*.jinja", "*.model", "*.txt", "*.safetensors", "*/*.json", "*/*.safetensors")
_PICKLED = ("*.bin", "*/*.bin")
_CONFIG = "config.json"


def locate(name: str | Path, root: Path | None = None) -> Path:
    """The folder or file that `name` is, fetched from the hub (into its cache) if nothing local has that name.

    Raises:
        DataError: there is no such file, nor such a repository.
        HostError: the hub cannot be reached.
    """
    return _here(name, root) or _from_hub(_repo(name))


def check_name(name: str | Path, root: Path | None = None) -> None:
    """Raise unless `locate` would find something here, or ask the hub.

    Raises:
        DataError: nothing here has that name, and it is no hub id.
    """
    if _here(name, root) is None:
        _repo(name)


def locate_config(name: str | Path, root: Path | None = None) -> Path:
    """The config.json of a model, without its weights.

    Raises:
        DataError: there is no such folder or repository, or it has none.
        HostError: the hub cannot be reached.
    """
    folder = _here(name, root)
    if folder is not None:
        return folder / _CONFIG
    from huggingface_hub import hf_hub_download

    repo = _repo(name)
    with _hub_errors(repo):
        return Path(hf_hub_download(repo, _CONFIG))


def _here(name: str | Path, root: Path | None) -> Path | None:
    path = Path(name).expanduser()
    candidates = (path if root is None else root / path, path)
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _repo(name: str | Path) -> str:
    """`name` as a hub id, which it may be if nothing here has a name like it."""
    text = str(name)
    if not _HUB_ID.fullmatch(text) or Path(text).parent.exists():
        raise DataError(f"{name}: there is no such folder or file")
    return text


def _from_hub(repo: str) -> Path:
    from huggingface_hub import snapshot_download

    with _hub_errors(repo):
        folder = Path(snapshot_download(repo, allow_patterns=list(_WANTED)))
        if not any(folder.rglob("*.safetensors")):  # only old repositories lack them; both would be twice the bytes
            folder = Path(snapshot_download(repo, allow_patterns=[*_WANTED, *_PICKLED]))
        return folder


@contextlib.contextmanager
def _hub_errors(repo: str) -> Iterator[None]:
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise HostError(
            f"{repo}: the hub asks for a licence to be accepted", hint="Accept it, then `hf auth login`."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise DataError(f"{repo}: is neither a folder here nor a repository on the hub") from error
    except RemoteEntryNotFoundError as error:
        raise DataError(f"{repo}: this repository of the hub has no {_CONFIG}") from error
    except Exception as error:  # huggingface_hub passes on whatever its HTTP library raises
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise HostError(
            f"{repo}: is not a folder here, and the hub did not answer: {first}",
            hint="Name a local folder, or check the network, HF_ENDPOINT and HF_TOKEN.",
        ) from error
