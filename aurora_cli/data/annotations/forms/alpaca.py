"""Alpaca's form, with media beside it as LLaMA-Factory has them."""

from aurora_cli.data.annotations.keys import Key
from aurora_cli.data.annotations.pairs import HISTORY, Pair, earlier_pairs, pairs_schema
from aurora_cli.io.json_files import JsonObject


def pairs_in(value: JsonObject) -> list[Pair]:
    """The earlier pairs, and its own: what `input` says belongs to the question."""
    return [*earlier_pairs(value), Pair((value.get("instruction"), value.get("input")), value.get("output"))]


SCHEMA = pairs_schema(
    "alpaca",
    "output",
    '{"instruction", "input", "output", "history": [[question, answer]], "images": [path], "videos": [path]}',
    (
        Key(("instruction", "input"), "read", "The question; what `input` says follows on a line of its own."),
        Key(("output",), "read", "The answer."),
        HISTORY,
    ),
    pairs_in,
    rank=5,
)
