"""From what a user calls a model - a folder, a file, a hub id - to a path on this machine."""

import contextlib
import re
import shlex
from pathlib import Path

from aurora_cli.errors import DataError, UsageError
from aurora_cli.hub.errors import HubRepo, id_in
from aurora_cli.hub.snapshot import fetch_file, fetch_snapshot
from aurora_cli.io.urls import is_url, scheme_of
from aurora_cli.runs.checkpoints import pointed
from aurora_cli.runs.stored_checkpoints import fetch_checkpoint
from aurora_cli.storage.copies import local_copy, local_folder

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WANTED = ("*.json", "*.jinja", "*.model", "*.txt", "*.safetensors", "*/*.json", "*/*.safetensors")
_DESCRIBING = ("*.json", "*.jinja", "*.model", "*/*.json")
_PICKLED = ("*.bin", "*/*.bin")
_CONFIG = "config.json"
_GGUF = ".gguf"


def locate(name: str | Path, root: Path | None = None) -> Path:
    """The folder or file that `name` is, fetched from the hub (into its cache) if nothing local has that name.

    Raises:
        DataError: there is no such file, and it cannot be a repository's name.
        UsageError: it is an address, or there is no such repository on the hub.
        HostError: the hub cannot be reached.
    """
    return _local_path(name, root) or _from_hub(_repo(name))


def check_name(name: str | Path, root: Path | None = None) -> None:
    """Raise unless `locate` would find something on this machine, or ask the hub.

    Raises:
        DataError: no file or folder has that name, and it is no hub id.
        UsageError: it is an address.
    """
    if _local_path(name, root) is None:
        _repo(name)


def locate_config(name: str | Path, root: Path | None = None) -> Path:
    """The config.json of a model, without its weights.

    Raises:
        DataError: there is no such folder, or the repository has none.
        UsageError: there is no such repository on the hub.
        HostError: the hub cannot be reached.
    """
    folder = _local_path(name, root)
    return fetch_file(HubRepo(_repo(name)), _CONFIG) if folder is None else folder / _CONFIG


def locate_description(name: str | Path, root: Path | None = None) -> Path:
    """The folder with what lies beside a model's weights: configs, its tokenizer, its image processor's file.

    Raises:
        DataError: there is no such folder, and it cannot be a repository's name.
        UsageError: there is no such repository on the hub.
        HostError: the hub cannot be reached.
    """
    return refuse_gguf(name, _local_path(name, root)) or fetch_snapshot(HubRepo(_repo(name)), _DESCRIBING)


def is_gguf(path: str | Path) -> bool:
    """Whether it is called like a language model in one file, as llama.cpp reads it."""
    return Path(path).suffix.lower() == _GGUF


def refuse_gguf(name: str | Path, path: Path | None) -> Path | None:
    """The path where `name` was found, if it was.

    Raises:
        UsageError: it is a GGUF file, and a folder is read.
    """
    if path is not None and path.is_file() and is_gguf(path):
        raise UsageError(
            f"{name}: is a GGUF file; a folder as transformers saves it is read",
            hint=f"aurora convert {shlex.quote(str(name))} {shlex.quote(path.stem)}    (then name {path.stem})",
        )
    return path


def refuse_llama_cpps(name: str | Path, path: Path) -> None:
    """
    Raises:
        UsageError: it is a GGUF file, or a folder of them, and a captioner is opened.
    """
    files = sorted(path.glob(f"*{_GGUF}")) if path.is_dir() else [path] if is_gguf(path) else []
    if files:
        what = f"holds {files[0].name}" if path.is_dir() else "is a GGUF file"
        raise UsageError(
            f"{name}: {what}, which llama.cpp runs and aurora does not",
            hint="Name what it was converted from; or run it there: llama-server -m MODEL.gguf --mmproj MMPROJ.gguf",
        )


def _local_path(name: str | Path, root: Path | None) -> Path | None:
    if is_url(name):
        return _copy_of(str(name))
    path = Path(name).expanduser()
    candidates = (path if root is None else root / path, path)
    return next((pointed(candidate) for candidate in candidates if candidate.exists()), None)


def _copy_of(url: str) -> Path:
    """An object or a folder of them, or of a folder of checkpoints the newest, in the cache."""
    if is_gguf(url):
        return local_copy(url)
    with contextlib.suppress(DataError):
        return fetch_checkpoint(url)
    return local_folder(url)


def _repo(name: str | Path) -> str:
    """`name` as a hub id, which it may be if no folder has a name like it."""
    text = str(name)
    if (scheme := scheme_of(text)) is not None:
        meant = id_in(text)
        raise UsageError(
            f"{name}: {scheme}:// is not read here; a folder, a hub id or a bucket's URL (s3://) was expected",
            hint=None if meant is None else f"The hub's id of it is {meant}",
        )
    if not _HUB_ID.fullmatch(text) or Path(text).parent.exists():
        raise DataError(f"{name}: there is no such folder or file")
    return text


def _from_hub(name: str) -> Path:
    repo = HubRepo(name)
    folder = fetch_snapshot(repo, _WANTED)
    if any(folder.rglob("*.safetensors")):
        return folder
    return fetch_snapshot(repo, [*_WANTED, *_PICKLED])  # only old repositories need them; both would be twice the bytes
