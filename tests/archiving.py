"""Archives made for tests: by the standard library, and by hand for what no library writes."""

import bz2
import gzip
import io
import json
import lzma
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow

from aurora_cli.config.settings import ExtractSettings, Settings

SUBSET = "data/vision/cost"


def settings(workspace: Path, **options: object) -> Settings:
    return Settings(workspace=workspace, extract=ExtractSettings.model_validate({"sync": False} | options))


def info(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, content


def tar_of(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def _zstd(raw: bytes) -> bytes:
    return pyarrow.Codec("zstd").compress(raw, asbytes=True)


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": _zstd,
}
"""The ending of a compressed tar -> what makes it of the tar."""


def place(workspace: Path, content: bytes, name: str = "a.tar") -> Path:
    path = workspace / SUBSET / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def tree(folder: Path) -> dict[str, object]:
    """Path -> content, link target, or None for a folder; our own files left out."""
    found: dict[str, object] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not (name == ".aurora" and Path(parent) == folder)]
        for name in folders + names:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                found[relative] = ("link", str(path.readlink()))
            elif path.is_dir():
                found[relative] = None
            else:
                found[relative] = path.read_bytes()
    return {path: value for path, value in found.items() if ".t" not in path and path != "rejected.jsonl"}


def rejects(workspace: Path) -> list[dict]:
    lines = (workspace / SUBSET / "rejected.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


IMAGES = [info(f"images/{n}.jpg", random.Random(n).randbytes(3000 + n)) for n in range(40)]
FILES = {member.name: content for member, content in IMAGES} | {"images": None}


def header(name: bytes, *, size: bytes = b"00000000000\0", kind: bytes = b"0", link: bytes = b"") -> bytes:
    """A ustar header made by hand, for what no library writes."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[108:116], block[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    block[124:136], block[136:148] = size, b"00000000000\0"
    block[148:156], block[156:157] = b" " * 8, kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def sparse_header(*, size: int, pieces: list[tuple[int, int]], stored: int) -> bytes:
    """Of the old GNU format, with up to four pieces; numbers above its octal digits in base 256."""
    block = bytearray(header(b"holes", size=b"%011o\0" % stored, kind=b"S"))
    for index, number in enumerate(number for piece in pieces for number in piece):
        block[386 + 12 * index : 398 + 12 * index] = b"%011o\0" % number
    block[483:495] = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(**records: str) -> bytes:
    content = b""
    for key, value in records.items():
        body = f" {key}={value}\n".encode("utf-8", "surrogateescape")
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length += 1
        content += str(length).encode() + body
    return header(b"pax", size=b"%011o\0" % len(content), kind=b"x") + content + b"\0" * (-len(content) % 512)


END = b"\0" * 10240
GOOD = tar_of(info("good", b"good"))[:1024]
ONE_BYTE = b"00000000001\0"
PAYLOAD = b"!" + b"\0" * 511


def long_name(name: bytes) -> bytes:
    """GNU's way of naming the next member."""
    return header(b"././@LongLink", size=b"%011o\0" % len(name), kind=b"L") + name.ljust(
        -(-len(name) // 512) * 512, b"\0"
    )


def peak_of(code: str, *arguments: str, **environment: str) -> int:
    """The most kilobytes that a process of its own held while it ran `code`.

    From VmHWM: `ru_maxrss` of a child begins with what its parent held.
    """
    code += "; print(*(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    command, surroundings = [sys.executable, "-c", code, *arguments], os.environ | environment
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[1])
