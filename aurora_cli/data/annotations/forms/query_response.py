"""A question and its answer as ms-swift has them."""

from aurora_cli.data.annotations.keys import Key
from aurora_cli.data.annotations.pairs import HISTORY, Pair, earlier_pairs, pairs_schema
from aurora_cli.io.json_files import JsonObject


def pairs_in(value: JsonObject) -> list[Pair]:
    """The earlier pairs, and its own."""
    return [*earlier_pairs(value), Pair((value.get("query"),), value.get("response"))]


SCHEMA = pairs_schema(
    "query-response",
    "response",
    '{"query", "response", "history": [[question, answer]], "images": [path], "videos": [path]}',
    (Key(("query",), "read", "The question."), Key(("response",), "read", "The answer."), HISTORY),
    pairs_in,
    rank=6,
)
