"""What an export adds to a tokenizer's own chat template, so that its ids are training's: found by trying."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aurora_cli.data.annotations.records import Message, Record, Rejection
from aurora_cli.data.tokenization.boundaries import CANDIDATES, CUT, Joints, kinds_of_answers
from aurora_cli.data.tokenization.chat_encoder import ChatEncoder
from aurora_cli.data.tokenization.chat_template import ROLE_NAMES, ChatMessage
from aurora_cli.data.tokenization.own_prompt import QUESTION
from aurora_cli.export.chat_templates import AS_IT_STANDS, GenerationPrompt

ONE_QUESTION = ChatMessage("user", QUESTION)
CHATS = (
    [ONE_QUESTION],
    [ONE_QUESTION, ChatMessage("assistant", "The"), ONE_QUESTION],
    [ChatMessage("system", "Be good."), ONE_QUESTION],
)

EARLIER = [Message("human", QUESTION), Message("gpt", "The")]
"""What makes an answer in front of it an earlier one."""


def own_generation_prompt(encoder: ChatEncoder) -> GenerationPrompt:
    """Whether the template asks by itself with the words that training had before answers."""
    is_alike, spaces = True, []
    for chat in CHATS:
        try:
            wanted, before = encoder.prompt(chat), encoder.template.before_answer(chat)
        except Rejection:  # a system turn, say
            continue
        is_alike &= _generation_prompt(encoder, chat) == wanted
        spaces.append(len(before) - len(wanted))
    return AS_IT_STANDS if is_alike else GenerationPrompt(True, spaces[0])


def _generation_prompt(encoder: ChatEncoder, chat: list[ChatMessage]) -> str | None:
    try:
        return encoder.template.render(chat, add_generation_prompt=True)
    except Rejection:
        return None


class OwnJoints(NamedTuple):
    """What stands in front of earlier answers, so that their ids are those of training."""

    joints: Joints
    unlike: list[str]
    """Answers of which nothing makes them so: one of a kind."""


def own_joints(encoder: ChatEncoder) -> OwnJoints:
    """The best joint for each kind of answer."""
    kinds = kinds_of_answers(encoder.backend, encoder.prompt([ONE_QUESTION]))
    found = [_best_joint(encoder, answers) for answers in kinds]
    return OwnJoints(Joints(*(joint for joint, _ in found)), [answers[0] for _, answers in found if answers])


def _best_joint(encoder: ChatEncoder, answers: Sequence[str]) -> tuple[str, list[str]]:
    """The joint with which most answers have the ids of training, and the earlier ones that have not.

    An earlier answer counts before a last one, which stands in no prompt. Of equals it is the first.
    """
    trials = [
        (joint, _unlike(encoder, answers, joint, EARLIER), _unlike(encoder, answers, joint, [])) for joint in CANDIDATES
    ]
    joint, unlike, _ = min(trials, key=lambda trial: (len(trial[1]), len(trial[2])))
    return joint, unlike


def _unlike(encoder: ChatEncoder, answers: Sequence[str], joint: str, following: list[Message]) -> list[str]:
    """The answers that have other ids than in training behind this joint."""
    backend = encoder.cutting if CUT in joint else encoder.backend
    is_next_to_question = not encoder.template.layout(("user", "assistant"))[1].strip()
    unlike = []
    for question in (QUESTION, QUESTION + "\n")[: 1 + is_next_to_question]:
        trained = {a: ids for a in answers if (ids := _trained(encoder, question, a, following)) is not None}
        texts = [_written(encoder, question, joint + answer, following) for answer in trained]
        whole = backend.encode_batch_fast(texts, add_special_tokens=False)
        pairs = zip(whole, trained.items(), strict=True)
        unlike += [answer for encoding, (answer, ids) in pairs if encoding.ids != ids]
    return unlike


def _written(encoder: ChatEncoder, question: str, answer: str, following: list[Message]) -> str:
    rest = [ChatMessage(ROLE_NAMES[message.role], message.text) for message in following]
    try:
        return encoder.template.render([ChatMessage("user", question), ChatMessage("assistant", answer), *rest])
    except Rejection:
        return ""


def _trained(encoder: ChatEncoder, question: str, answer: str, following: list[Message]) -> list[int] | None:
    """The ids of a conversation with that answer; none where there can be none."""
    record = Record("", None, None, [Message("human", question), Message("gpt", answer), *following])
    try:
        encoded = next(iter(encoder.encode([encoder.render(record, frames=1, images_are_video=False)])))
    except Rejection:
        return None
    return np.frombuffer(encoded.tokens, np.int32).tolist()
