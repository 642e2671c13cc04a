"""An archive read once, front to back, as a tar: compressed or plain, whole or in parts, in constant memory.

`TarFile` copies each payload several times, so the walk from header to header is here.
Offsets count bytes of the uncompressed tar unless said otherwise.
"""

import tarfile
from collections.abc import Iterator

from aurora_cli.data.archives.reading.sparse import UNREADABLE, old_map, pax_map
from aurora_cli.data.archives.reading.tar_bytes import TarBytes
from aurora_cli.data.archives.reading.tar_header import (
    BLOCK,
    EXTENSION_LIMIT,
    KINDS,
    VOLUME_LABEL,
    Header,
    Member,
    pax_records,
    plain_header,
)


class TarStream(TarBytes):
    """The members of an archive in their order."""

    def members(self) -> Iterator[Member]:
        """Every header; the payload of one is read with `pieces` before the next is asked for, or skipped.

        Raises:
            BadArchive: the archive is truncated, corrupt, or goes on behind its end
        """
        self._shared: dict[str, str] = {}
        """The pax values that hold for all members that follow."""
        while (member := self._next_member()) is not None:
            self.where = f"in member {member.name!r}"
            self.begun += 1
            yield member
            if (left := member.end - self.position) > 0:
                self.skip(left)
            self.where = f"behind member {member.name!r}"
        self._finish()

    def _next_member(self) -> Member | None:
        """The next member, or none at the end marker."""
        start = self.position
        own: dict[str, str] = {}
        damage: str | None = None
        while True:
            offset = self.position
            if not self.chunk and not self.advance():
                raise self.bad("the archive is truncated: it stops without the end marker")
            if self.damage is not None:
                damage, self.damage = self.damage, None
            block = self.read(BLOCK)
            plain = plain_header(block)
            if plain is not None and damage is None and not (own or self._shared) and plain.name[-1:] != "/":
                name, _, size, mode, mtime, link = plain
                return Member(name, "file", size, start, self.position, mode, mtime, link, size)
            try:
                info = plain or tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.EOFHeaderError:  # pyrefly: ignore[missing-attribute]
                if own:
                    raise self.bad("a long name or pax header without its member", offset) from None
                return None
            except tarfile.HeaderError as error:
                raise self.bad(f"{self._not_a_tar() if offset == 0 else 'corrupt header'} ({error})", offset) from None
            if info.size < 0:
                raise self.bad("corrupt header (negative size)", offset)
            if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                key = "path" if info.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
                own[key] = self._extension(info.size, offset).split(b"\0")[0].decode("utf-8", "surrogateescape")
            elif info.type == tarfile.XGLTYPE:
                self._shared = self._shared | self._pax(info.size, offset)
            elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                own |= self._pax(info.size, offset)
            elif info.type != VOLUME_LABEL:
                return self._member_of(info, block, start, self._shared | own, damage)

    def _not_a_tar(self) -> str:
        return "this is no zip" if self.archive.path.name.lower().endswith(".zip") else "this is no tar"

    def _member_of(
        self, info: Header | tarfile.TarInfo, block: bytes, start: int, pax: dict[str, str], damage: str | None
    ) -> Member:
        try:
            stored = int(pax.get("size", info.size))
            mtime = float(pax.get("mtime", info.mtime))
        except ValueError:
            raise self.bad("corrupt pax header (size or time is no number)", start) from None
        if stored < 0:
            raise self.bad("corrupt pax header (negative size)", start)
        kind, name, link = (
            KINDS.get(info.type, "unknown"),
            pax.get("path", info.name),
            pax.get("linkpath", info.linkname),
        )
        if kind == "file" and name.endswith("/") and stored == 0:  # how tars of 1979 write a folder
            kind = "folder"
        is_pax_sparse = kind == "file" and any(key.startswith("GNU.sparse") for key in pax)
        if kind != "sparse" and not is_pax_sparse:
            member = Member(name, kind, stored, start, self.position, info.mode, mtime, link, stored)
            return member if damage is None else member._replace(damage=damage)
        begin = self.position
        if kind == "sparse":
            sparse, begin = old_map(block, stored, lambda: self.read(BLOCK)), self.position
        else:
            sparse = pax_map(pax, stored, self.read)
            name = pax.get("GNU.sparse.name", name)
        stored -= self.position - begin
        return Member(
            name,
            "sparse",
            stored if sparse is None else sparse.size,
            start,
            self.position,
            info.mode,
            mtime,
            link,
            stored,
            sparse,
            UNREADABLE if sparse is None else damage,
        )

    def _extension(self, size: int, offset: int) -> bytes:
        if size > EXTENSION_LIMIT:
            raise self.bad(f"corrupt header (a name of {size:,} bytes)", offset)
        return self.read(-(-size // BLOCK) * BLOCK)[:size]

    def _pax(self, size: int, offset: int) -> dict[str, str]:
        values = pax_records(self._extension(size, offset))
        if values is None:
            raise self.bad("corrupt pax header", offset)
        return values

    def _finish(self) -> None:
        """Behind the first zero block: the second, then nothing but padding."""
        offset = self.position
        if not self.chunk and not self.advance():
            raise self.bad("the archive is truncated: its end marker is half")
        if self.read(BLOCK).strip(b"\0"):
            raise self.bad("corrupt header (a lone block of zeros before it)", offset)
        while self.chunk or self.advance():
            if bytes(self.chunk).strip(b"\0"):
                raise self.bad("something follows the end marker, a second archive perhaps,")
            self.position += len(self.chunk)
            self.chunk = memoryview(b"")
