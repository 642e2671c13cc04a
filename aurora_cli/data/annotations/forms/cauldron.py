"""The form of The Cauldron and of FineVision: images, and what is said about them, pair by pair."""

from aurora_cli.data.annotations.keys import Key
from aurora_cli.data.annotations.pairs import Pair, objects_under, pairs_schema
from aurora_cli.io.json_files import JsonObject


def pairs_in(value: JsonObject) -> list[Pair]:
    """
    Raises:
        Rejection: there is no list of pairs.
    """
    return [Pair((one.get("user"),), one.get("assistant")) for one in objects_under(value, "texts")]


SCHEMA = pairs_schema(
    "cauldron",
    "texts",
    '{"images": [path], "texts": [{"user", "assistant"}]}',
    (Key(("texts",), "read", "The turns: `user` asks, `assistant` answers."),),
    pairs_in,
    rank=4,
)
