"""The import formats that are known, and which one a source has.

A format is a module in `formats/` with a `FORMAT`: it is found there, and nothing else lists them.
"""

import importlib
import pkgutil
from pathlib import Path
from typing import cast

from aurora_cli.data.importing import formats
from aurora_cli.data.importing.format import ImportFormat
from aurora_cli.errors import DataError, UsageError

AUTO = "auto"
"""Stands for the format that a source looks like."""

FILES_LOOKED_AT = 200
"""Of a folder that is of no format itself."""

ABOUT_DATA_SETS = ("dataset_info.json", "dataset_infos.json")
"""Of `datasets` and of LLaMA-Factory: which columns there are, not what is in them."""


def _found() -> dict[str, ImportFormat]:
    names = [found.name for found in pkgutil.iter_modules(formats.__path__)]
    modules = [importlib.import_module(f"{formats.__name__}.{name}") for name in names]
    found = [cast(ImportFormat, module.FORMAT) for module in modules if hasattr(module, "FORMAT")]
    return {one.name: one for one in sorted(found, key=lambda one: (one.rank, one.name))}


FORMATS = _found()


def recognised(source: Path, name: str = AUTO) -> tuple[Path, ImportFormat]:
    """A source and its format: of this name, or the first that it looks like.

    A folder that is of none is looked into: the only file in it that is of a format is the source.

    Raises:
        UsageError: no format has the name, the source looks like none, or several files of a folder do.
        DataError: there is no such source, or nothing is in it.
    """
    if name != AUTO and name not in FORMATS:
        raise UsageError(
            f"import_data.source_format: {name!r} is no format; there are {', '.join([AUTO, *FORMATS])}",
            hint="aurora import --format auto looks at what each source is.",
        )
    if not source.exists():
        raise DataError(f"{source}: there is no such file or folder")
    if source.is_file() and source.stat().st_size == 0:
        raise DataError(f"{source}: is an empty file")
    if name != AUTO:
        return source, FORMATS[name]
    if (found := _suiting(source)) is not None:
        return source, found
    if source.is_dir():
        return _inside(source)
    looks = "\n".join(f"  {one.name}: {one.looks_like}" for one in FORMATS.values())
    raise UsageError(
        f"{source}: looks like none of the formats that are read:\n{looks}",
        hint=f"If it is one of them: aurora import --format NAME {source}\n"
        "Else make a table of it: a .csv with the columns `file_name` and `caption`, and `start` and `end` of a part.",
    )


def _suiting(source: Path) -> ImportFormat | None:
    return next((one for one in FORMATS.values() if one.suits(source)), None)


def _inside(folder: Path) -> tuple[Path, ImportFormat]:
    """The only file right in a folder, or in its `annotations`, that is of a format; else what `folder` says of it."""
    entries = [entry for below in ("*", "annotations/*") for entry in sorted(folder.glob(below))]
    files = [entry for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    files = [file for file in files if file.name not in ABOUT_DATA_SETS]
    found = [(file, one) for file in files[:FILES_LOOKED_AT] if (one := _suiting(file)) is not None]
    if len(found) > 1:
        named = ", ".join(f"{file.relative_to(folder)} ({one.name})" for file, one in found[:8])
        raise UsageError(f"{folder}: several files in it may hold the captions: {named}", hint="Name one of them.")
    return found[0] if found else (folder, FORMATS["folder"])
