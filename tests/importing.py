"""What the tests of `aurora import` share: media, rows, and each form in which rows are kept."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from aurora_cli.config.importing import ImportSettings
from aurora_cli.config.settings import Settings
from aurora_cli.pipeline.import_data.command import run
from aurora_cli.pipeline.import_data.result import ImportResult
from tests.run_files import json_lines

Row = tuple[str, str]
"""A medium's name and a caption."""

MEDIA = ("a.jpg", "b c.png", "sub/d.jpg", "e.mp4")
MISSING = ("nowhere.jpg", "sub/nowhere.mp4")


def make_media(folder: Path) -> None:
    """Small images; a file that is called like a video: nothing here decodes it."""
    for number, name in enumerate(MEDIA):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".mp4":
            path.write_bytes(b"\0\0\0\x18ftypmp42")
        else:
            Image.new("RGB", (8, 6), (40 * number, 0, 0)).save(path)


def imported(workspace: Path, *sources: Path | str, dry_run: bool = False, **step: Any) -> ImportResult:
    """Import them as `own`."""
    step = {"name": "own", **step}
    settings = Settings(workspace=workspace, import_data=ImportSettings(sources=sources, **step))
    return run(settings, dry_run=dry_run)


def records(workspace: Path, name: str = "own", split: str = "vision") -> list[dict[str, Any]]:
    return _lines(workspace / "data" / split / name / f"{name}.jsonl")


def rejects(workspace: Path, name: str = "own", split: str = "vision") -> list[dict[str, Any]]:
    return _lines(workspace / "data" / split / name / "rejected.jsonl")


def _lines(path: Path) -> list[dict[str, Any]]:
    return json_lines(path) if path.exists() else []


def pair(record: dict[str, Any]) -> Row:
    """The medium and the caption of a record; the medium as its source names it, below `.media/<folder>/`."""
    path = record.get("image") or record.get("video")
    assert isinstance(path, str)
    return path.split("/", 2)[2], record["conversations"][-1]["value"]


def what_is_kept(rows: list[Row]) -> list[Row]:
    """Which rows become records, by the rule and one by one: there, with words, and not there before."""
    kept: list[Row] = []
    for medium, caption in rows:
        words = caption.strip()
        if medium in MEDIA and words and (medium, words) not in kept:
            kept.append((medium, words))
    return kept


def write_csv(folder: Path, rows: list[Row]) -> Path:
    return _table(folder / "rows.csv", rows, ",")


def write_tsv(folder: Path, rows: list[Row]) -> Path:
    return _table(folder / "rows.tsv", rows, "\t")


def _table(path: Path, rows: list[Row], separator: str) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL)
        writer.writerow(["file_name", "caption"])
        writer.writerows(rows)
    return path


def write_parquet(folder: Path, rows: list[Row]) -> Path:
    names, captions = [row[0] for row in rows], [row[1] for row in rows]
    table = {
        "path": pa.array(names, pa.string()),
        "n": pa.array(range(len(rows))),
        "text": pa.array(captions, pa.string()),
    }
    pq.write_table(pa.table(table), folder / "rows.parquet")
    return folder / "rows.parquet"


def write_metadata(folder: Path, rows: list[Row]) -> Path:
    """One in each folder."""
    for below in ("", "sub/"):
        own = [row for row in rows if row[0].startswith("sub/") == bool(below)]
        lines = [json.dumps({"file_name": name.removeprefix(below), "text": caption}) for name, caption in own]
        if lines:
            (folder / below / "metadata.jsonl").write_text("".join(line + "\n" for line in lines), "utf-8")
    return folder


def write_jsonl(folder: Path, rows: list[Row]) -> Path:
    lines = [json.dumps({"path": name, "description": caption, "score": 0.5}) for name, caption in rows]
    return _text(folder / "rows.jsonl", "\ufeff" + "".join(line + "\n\n" for line in lines))


def write_coco(folder: Path, rows: list[Row]) -> Path:
    """Annotations before images, as some files have them."""
    names = sorted({name for name, _ in rows})
    captions = [{"id": at, "image_id": names.index(name), "caption": text} for at, (name, text) in enumerate(rows)]
    images = [{"id": at, "file_name": name} for at, name in enumerate(names)]
    content = {"info": {"year": 2014}, "annotations": captions, "images": images, "licenses": []}
    return _text(folder / "captions_train.json", json.dumps(content))


def write_karpathy(folder: Path, rows: list[Row]) -> Path:
    images = [
        {"filepath": "sub" if "/" in name else "", "filename": name.rpartition("/")[2], "sentences": [{"raw": caption}]}
        for name, caption in rows
    ]
    return _text(folder / "dataset.json", json.dumps({"images": images, "dataset": "own"}))


def _text(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


FORMS: dict[str, Callable[[Path, list[Row]], Path]] = {
    "csv": write_csv,
    "tsv": write_tsv,
    "parquet": write_parquet,
    "metadata": write_metadata,
    "jsonl": write_jsonl,
    "coco": write_coco,
    "karpathy": write_karpathy,
}
"""Those that hold any rows, each row as one."""
