"""VideoChat2-IT's questions and answers. An instruction that is the one before is not said again."""

from aurora_cli.data.annotations.keys import Key
from aurora_cli.data.annotations.pairs import Pair, objects_under, pairs_schema
from aurora_cli.io.json_files import JsonObject


def pairs_in(value: JsonObject) -> list[Pair]:
    """
    Raises:
        Rejection: there is no list of pairs.
    """
    pairs, before = [], None
    for one in objects_under(value, "QA"):
        instruction = one.get("i")
        pairs.append(Pair((None if instruction == before else instruction, one.get("q")), one.get("a")))
        before = instruction or before
    return pairs


SCHEMA = pairs_schema(
    "videochat2",
    "QA",
    '{"video": path, "image": path, "QA": [{"i", "q", "a"}]}',
    (Key(("QA",), "read", "The turns: `i` and `q` are the question, `a` is its answer."),),
    pairs_in,
    rank=3,
)
