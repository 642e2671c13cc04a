"""What is there already: is it ours, and is it what these sources and settings would give?"""

from aurora_cli.config.workspace import Workspace
from aurora_cli.data.importing.manifest import MANIFEST, ImportedSource, ImportManifest, is_same
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.json_files import JsonObject
from aurora_cli.pipeline.import_data.sources import SourceToImport
from aurora_cli.pipeline.import_data.write import Target

BEGUN = ".import.begun"
"""Lies in a subset's folder as long as an import is not at its end."""


def check_apart(target: Target, sources: list[SourceToImport]) -> None:
    """
    Raises:
        UsageError: the records would be written into a source.
    """
    folder = target.folder.resolve()
    for source in sources:
        inside = source.path.resolve()
        if folder == inside or (source.path.is_dir() and folder.is_relative_to(inside) and not source.opened.files):
            raise UsageError(
                f"{target.folder}: lies in the source {source.path}, which stays as it is", hint="--as another-name"
            )
        if inside.parent == folder:
            raise UsageError(f"{source.path}: lies where its records would be written", hint="--as another-name")


def check_owner(target: Target) -> None:
    """
    Raises:
        UsageError: somebody else's data have the name.
    """
    if (target.folder / MANIFEST).exists() or (target.folder / BEGUN).exists() or not target.folder.is_dir():
        return
    if others := sorted(entry.name for entry in target.folder.iterdir() if not entry.name.startswith(".")):
        if others == [target.rejects.name]:
            return
        raise UsageError(
            f"{target.folder}: is there, and no import made it ({', '.join(others[:3])})", hint="--as another-name"
        )


def compare(former: ImportManifest, entries: list[ImportedSource], deciding: JsonObject, target: Target) -> None:
    """
    Raises:
        UsageError: a source is not what was imported, or a setting is another.
    """
    hint = "--force imports it again; --as NAME keeps both."
    if [one.path for one in former.sources] != [one.path for one in entries]:
        raise UsageError(
            f"{target.folder}: was imported from {', '.join(one.path for one in former.sources)}", hint=hint
        )
    for before, now in zip(former.sources, entries, strict=True):
        known = {file.path: file for file in before.files}
        for file in now.files:
            if file.path not in known or not is_same(known[file.path], file):
                what = "is new" if file.path not in known else "has changed"
                raise UsageError(f"{file.path}: {what} since it was imported into {target.folder}", hint=hint)
        if gone := known.keys() - {file.path for file in now.files}:
            raise UsageError(f"{min(gone)}: is gone since it was imported into {target.folder}", hint=hint)
        for name in ("format", "media_root"):
            if (was := getattr(before, name)) != (given := getattr(now, name)):
                raise UsageError(f"{target.folder}: was imported with {name} {was}, not {given}", hint=hint)
    before = {"whole_videos": False, **former.settings}  # of an import before there was the setting
    different = [name for name in deciding if before.get(name) != deciding[name]]
    if different:
        was = ", ".join(f"{name} {before.get(name)!r}" for name in different if name != "questions")
        raise UsageError(f"{target.folder}: was imported with {was or 'other questions'}", hint=hint)


def entries_of(
    sources: list[SourceToImport], workspace: Workspace, former: ImportManifest | None
) -> list[ImportedSource]:
    known = {} if former is None else {one.path: one for one in former.sources}
    return [source.entry(workspace, known.get(workspace.relative(source.path))) for source in sources]


def check_unchanged(sources: list[SourceToImport], entries: list[ImportedSource], workspace: Workspace) -> None:
    for source, entry in zip(sources, entries, strict=True):
        if (now := source.entry(workspace, entry)) != entry:
            changed = next((file.path for file in now.files if file not in entry.files), entry.path)
            raise DataError(f"{changed}: has changed while it was read", hint="Run the same command again.")
