"""Where a question by the tokenizer's own chat template ends and its answer begins, to the token.

A template may write a space in front of answers (`A: `). A tokenizer may make one token of that space and the answer's
first word, or of the space and the words before it, or one of the space alone. Which it does is found by trying it on
ordinary answers; then a prompt ends, and an answer begins, at that character everywhere: in training, in captions and
in exports.
"""

from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from aurora_cli.data.annotations.records import Message, Record, Rejection
from aurora_cli.data.tokenization.boundaries import BEGINNINGS
from aurora_cli.data.tokenization.chat_template import ChatMessage
from aurora_cli.errors import UsageError

if TYPE_CHECKING:
    from aurora_cli.data.tokenization.chat_encoder import ChatEncoder

QUESTION = "What?"


def answer_space(backend: Tokenizer, before: str, between: str) -> int:
    """How much of the white space at the end of `between`, which follows `before`, belongs to an answer behind it.

    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> backend = Tokenizer(models.WordLevel({"Ġ": 0, "Q": 1, "A": 2, "ĠThe": 3}, "Q"))
    >>> backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    >>> answer_space(backend, "Q", "A ")
    1
    """
    text = before + between
    longest = len(between) - len(between.rstrip())
    if not longest:
        return 0
    wholes = [
        encoding.ids
        for encoding in backend.encode_batch_fast([text + answer for answer in BEGINNINGS], add_special_tokens=False)
    ]

    def agreeing(space: int) -> int:
        ids = backend.encode(text[: len(text) - space], add_special_tokens=False).ids
        return sum(whole[: len(ids)] == ids for whole in wholes)

    return max(range(longest + 1), key=agreeing)  # of equals the first: the least space


def check_prompts(encoder: "ChatEncoder") -> None:
    """
    Raises:
        UsageError: a prompt has other ids than those that training has before an answer to it.
    """
    question = ChatMessage("user", QUESTION)
    try:
        prompt = encoder.prompt_ids([question])
    except Rejection as rejection:
        raise UsageError(
            f"template: the tokenizer's chat template refuses a question: {rejection.detail}"
        ) from rejection
    for answer in BEGINNINGS:
        try:
            ids, start = _in_training(encoder, [Message("human", QUESTION), Message("gpt", answer)])
        except Rejection:  # so will such records be, each with its reason
            continue
        if ids[:start] == prompt:
            continue
        pairs = enumerate(zip([*prompt, None], [*ids[:start], None], strict=False))
        at, (prompted, trained) = next((at, pair) for at, pair in pairs if pair[0] != pair[1])
        raise UsageError(
            f"template: the tokenizer's chat template cannot ask as it teaches: before {answer!r}, id {at} is "
            f"{_shown(encoder, trained)} in training and {_shown(encoder, prompted)} in a prompt",
            hint="Use one of the other templates.",
        )


def earlier_answers_differ(encoder: "ChatEncoder") -> str | None:
    """A line where the template writes something else in front of an answer as soon as another one follows."""
    first = encoder.prompt_ids([ChatMessage("user", QUESTION)])
    talk = [Message("human", QUESTION), Message("gpt", "The"), Message("human", QUESTION), Message("gpt", "The")]
    try:
        ids, start = _in_training(encoder, talk)
    except Rejection:
        return None
    if ids[:start] == first:
        return None
    return (
        "the tokenizer's chat template writes earlier answers of a chat otherwise than its last one; all are learned "
        "as they are written, and captions and exports ask as before a last one"
    )


def _in_training(encoder: "ChatEncoder", messages: list[Message]) -> tuple[list[int], int]:
    """A conversation's ids in training, and where the first answer begins."""
    record = Record("", None, None, messages)
    encoded = next(iter(encoder.encode([encoder.render(record, frames=1, images_are_video=False)])))
    ids = np.frombuffer(encoded.tokens, np.int32).tolist()
    return ids, encoded.target_spans[0][0] if encoded.target_spans else len(ids)


def _shown(encoder: "ChatEncoder", token: int | None) -> str:
    return "none" if token is None else f"{token} ({encoder.backend.id_to_token(token)!r})"
