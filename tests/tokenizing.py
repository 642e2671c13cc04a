"""What the tests of tokenize, merge-shards and inspect share: records, settings, contents."""

import json
from pathlib import Path
from typing import Any

from aurora_cli.config.settings import MergeShardsSettings, ModelSettings, Settings, TokenizeSettings
from aurora_cli.data.token_store.store import Row, open_store

ROOT = Path(__file__).parents[1]
TINY = ROOT / "presets" / "tiny" / "tokenizer"


def record(index: int, **fields: Any) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": "<image>\nDescribe."},
        {"from": "gpt", "value": f"A red circle, number {index}."},
    ]
    return {"id": f"r{index}", "image": f"{index}.jpg", "conversations": turns, **fields}


def write_records(path: Path, count: int, start: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record(index)) + "\n" for index in range(start, start + count)))
    return path


def settings(workspace: Path, **tokenize: Any) -> Settings:
    return Settings(
        workspace=workspace,
        model=ModelSettings(tokenizer=str(TINY)),
        tokenize=TokenizeSettings(**{"workers": 1, **tokenize}),
    )


def merge_settings(workspace: Path, **merge: Any) -> Settings:
    return Settings(workspace=workspace, merge_shards=MergeShardsSettings(**merge))


def contents(folder: Path) -> list[tuple]:
    """Every row of a store, with its tokens as lists."""
    store = open_store(folder)
    return [comparable(row) for row in store.rows(range(store.num_rows))]


def comparable(row: Row) -> tuple:
    return (*row[:4], row.input_ids.tolist(), row.labels.tolist())
