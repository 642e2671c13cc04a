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


def _found() -> dict[str, ImportFormat]:
    names = [found.name for found in pkgutil.iter_modules(formats.__path__)]
    modules = [importlib.import_module(f"{formats.__name__}.{name}") for name in names]
    found = [cast(ImportFormat, module.FORMAT) for module in modules if hasattr(module, "FORMAT")]
    return {one.name: one for one in sorted(found, key=lambda one: (one.rank, one.name))}


FORMATS = _found()


def format_of(source: Path, name: str = AUTO) -> ImportFormat:
    """The format of this name, or the first that a source looks like.

    Raises:
        UsageError: no format has the name, or the source looks like none.
        DataError: there is no such source.
    """
    if name != AUTO and name not in FORMATS:
        raise UsageError(
            f"import_data.source_format: {name!r} is no format; there are {', '.join([AUTO, *FORMATS])}",
            hint="aurora import --format auto looks at what each source is.",
        )
    if not source.exists():
        raise DataError(f"{source}: there is no such file or folder")
    if name != AUTO:
        return FORMATS[name]
    for one in FORMATS.values():
        if one.suits(source):
            return one
    looks = "\n".join(f"  {one.name}: {one.looks_like}" for one in FORMATS.values())
    raise UsageError(
        f"{source}: looks like none of the formats that are read:\n{looks}",
        hint=f"If it is one of them: aurora import --format NAME {source}",
    )
