"""The media of all sources, where the records of a subset name them: linked, copied, or indexed in their tars."""

import os
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.console import Reporter
from aurora_cli.data.archives.build_index import build_index
from aurora_cli.data.archives.finding.parts import Archive
from aurora_cli.data.archives.indexed_tar import IndexedTar
from aurora_cli.data.archives.reading.tar_bytes import Advance
from aurora_cli.data.importing.format import SharedArchive
from aurora_cli.data.importing.media_source import (
    MEDIA_FOLDER,
    ArchivedMedia,
    CopiedMedia,
    FolderMedia,
    MediaSource,
    copy_medium,
    link_folder,
)
from aurora_cli.io.atomic import remove
from aurora_cli.pipeline.import_data.sources import SourceToImport
from aurora_cli.pipeline.import_data.write import Target


def begin_media(target: Target, sources: list[SourceToImport], settings: Settings, reporter: Reporter) -> None:
    """Make the links and the indexes; what an earlier import made and this one has no use for goes."""
    folder = target.folder / MEDIA_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    links = {source.link: source.root for source in sources if source.link is not None}
    archives = [archive for source in sources for archive in source.opened.archives]
    wanted = {*links, *(archive.name for archive in archives)}
    for entry in folder.iterdir():
        if entry.name not in wanted or (entry.name in links and entry.is_symlink() == settings.import_data.copy_files):
            remove(entry)
    for name, root in links.items():
        if not settings.import_data.copy_files:
            link_folder(root, folder / name, target.workspace.root)
    if archives:
        total = sum(archive.path.stat().st_size for archive in archives)
        with reporter.progress("index", total, "bytes") as advance:
            for archive in archives:
                index_archive(target, archive, settings, lambda amount, members: advance(amount))


def index_archive(target: Target, archive: SharedArchive, settings: Settings, advance: Advance) -> None:
    """Index a tar where it lies: its link and the index are ours. A compressed one is written out once as a tar."""
    folder = target.folder / MEDIA_FOLDER / archive.name
    folder.mkdir(parents=True, exist_ok=True)
    tar = archive.path.absolute()
    if tar.suffix == ".tar":
        if settings.import_data.copy_files:
            copy_medium(tar, folder / tar.name)
        else:
            link_file(tar, folder / tar.name)
        tar = folder / tar.name
    build_index(Archive(tar, (tar,)), folder, settings=settings.extract, advance=advance)


def link_file(file: Path, link: Path) -> None:
    if link.is_symlink() and os.readlink(link) == str(file):  # noqa: PTH115
        return
    remove(link)
    link.symlink_to(file)


def media_of(source: SourceToImport, target: Target, *, copy: bool) -> MediaSource:
    """What finds the media of a source, once there are links and indexes."""
    if source.opened.archives:
        return _indexed(source, target)
    name = source.link or "media"
    if copy:
        return CopiedMedia(source.root, name, target.folder, source.moved)
    return FolderMedia(source.root, name, source.moved)


def _indexed(source: SourceToImport, target: Target) -> ArchivedMedia:
    folder = target.folder / MEDIA_FOLDER
    opened: dict[str, IndexedTar] = {}

    def has(path: str) -> bool:
        name, _, member = path.partition("/")
        if name not in opened:
            opened.clear()  # rows come tar by tar
            opened[name] = IndexedTar(next((folder / name).glob("*.tar")))
        return opened[name].find(member) is not None

    return ArchivedMedia({archive.name: archive.path for archive in source.opened.archives}, has)
