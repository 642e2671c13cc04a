"""What to type for a file that is not read as annotations: by what it holds, or by its name alone."""

import json
import shlex
from pathlib import Path

from aurora_cli.data.annotations.sources import LINE_SUFFIXES

OBJECT_SUFFIXES = (".json", ".json.gz")
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz", ".jsonlines", ".ndjson")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
UNPACKED_BY = {".zst": "zstd -d", ".xz": "unxz -k", ".bz2": "bunzip2 -k", ".lz4": "lz4 -d"}
"""Compressions of annotations that are not read, and what undoes them."""


def remedy(path: Path, kind: str) -> str:
    """What to type for a file of some content. A kind that is none of these is the key that records are under."""
    plain = path.with_name(path.name.removesuffix(".gz"))
    given, target = shlex.quote(str(plain)), shlex.quote(str(plain.with_suffix(".records.jsonl")))
    load = "python3 -c 'import json, sys; [print(json.dumps("
    match kind:
        case "UTF-16" | "UTF-16LE" | "UTF-16BE":
            typed = f"iconv -f {kind} -t UTF-8 {given} > {target}"
        case "fetch":
            return "Fetch it again: aurora download --verify"
        case "gz":
            return f"mv {given} {given}.gz"
        case "zstd":
            return f"zstd -dc {shlex.quote(str(path))} > {target}"
        case "import":
            return f"aurora import {shlex.quote(str(path))}"
        case "array":
            typed = f"mv {given} {shlex.quote(str(plain.with_suffix('.json')))}    (arrays are read from a .json)"
        case "commas":
            typed = f"sed 's/,[[:space:]]*$//' {given} > {target}"
        case "one":
            typed = f"python3 -m json.tool --no-indent {given} {target}"
        case "many":
            typed = f"jq -c . {given} > {target}"
        case "by id":
            typed = f'{load}{{"id": k, **v}})) for k, v in json.load(open(sys.argv[1])).items()]\' {given} > {target}'
        case "records" | "unpack":
            return "Write a record a line, as docs/own-data.md shows, and name that file."
        case key:
            typed = f"{load}r)) for r in json.load(open(sys.argv[1]))[{json.dumps(key)}]]' {given} > {target}"
    return f"gunzip {shlex.quote(str(path))} && {typed}" if plain != path else typed


def remedy_by_name(path: Path) -> str | None:
    """What to type for a file whose name is none of annotations; none: nothing is known of such names."""
    quoted, name = shlex.quote(str(path)), path.name.lower()
    if name.endswith((*LINE_SUFFIXES, *OBJECT_SUFFIXES)):
        return f"mv {quoted} {shlex.quote(str(path.with_name(lowered(path.name))))}"
    if is_compressed(path):
        return f"{UNPACKED_BY[path.suffix.lower()]} {quoted}"
    if name.endswith((*TABLE_SUFFIXES, *TAR_SUFFIXES)):
        return f"aurora import {quoted}"
    return None


def is_compressed(path: Path) -> bool:
    """Whether it is called like annotations in a compression that is not read."""
    name = path.name.lower()
    plain = name.removesuffix(path.suffix.lower())
    return path.suffix.lower() in UNPACKED_BY and plain.endswith((".jsonl", ".json"))


def lowered(name: str) -> str:
    """A name with its suffixes in small letters.

    >>> lowered("Train.JSONL.GZ")
    'Train.jsonl.gz'
    """
    stem, point, suffixes = name.partition(".")
    return stem + point + suffixes.lower()
