"""Chat templates of exports, as Jinja: ours written out, and a tokenizer's own behind what training did before it."""

import json
from typing import NamedTuple

from aurora_cli.constants import IMAGE
from aurora_cli.data.tokenization.boundaries import NO_JOINTS, Joints
from aurora_cli.data.tokenization.templates import Template

ANSWER = "\ue000next\ue001"
"""Stands for the answer that is asked for."""

READ_MESSAGE = (
    "{%- set ns.text = '' -%}{%- set ns.images = [] -%}\n"
    "{%- if message.content is string -%}\n"
    f"{{%- set ns.images = ['{IMAGE}'] * message.content.count('{IMAGE}') -%}}\n"
    f"{{%- set ns.text = message.content.replace('{IMAGE}', '') if ns.images else message.content -%}}\n"
    "{%- else -%}\n"
    "{%- for part in message.content -%}\n"
    f"{{%- if part.type == 'image' -%}}{{%- set ns.images = ns.images + ['{IMAGE}'] -%}}\n"
    f"{{%- elif part.type == 'video' -%}}{{%- set ns.images = ns.images + ['{IMAGE}{IMAGE}'] -%}}\n"
    "{%- elif part.type == 'text' -%}{%- set ns.text = ns.text + part.text -%}{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- endif -%}\n"
)
"""Jinja: a message's words and images, whether it is a text or a list of parts, into `ns.text` and `ns.images`. Of a
video it does not know the frames: two images with no space between stand for one (`serving/vllm/prompt.py`)."""


LAST_QUESTION = "loop.last or messages[loop.index].role != 'user'"
"""Jinja: no other question follows this one; several in a row are one to training."""


class GenerationPrompt(NamedTuple):
    """How a tokenizer's own template is brought to ask."""

    as_before_answers: bool
    """Whether by what it writes before answers; else by its own `add_generation_prompt`."""
    space: int = 0
    """Characters at the end of that which belong to the answer."""


AS_IT_STANDS = GenerationPrompt(False)


def own_chat_template(
    own: str, *, in_parts: bool, joints: Joints = NO_JOINTS, generation: GenerationPrompt = AS_IT_STANDS
) -> str:
    """The tokenizer's own template, behind lines that put a question's images in front of it, join questions in a row,
    and ask nothing before a second answer in a row, as training did.
    """

    def added(role: str, text: str) -> str:
        content = f"[{{'type': 'text', 'text': {text}}}]" if in_parts else text
        return f"[{{'role': {role}, 'content': {content}}}]"

    def add(role: str, text: str) -> str:
        return f"{{%- set ns.messages = ns.messages + {added(role, text)} -%}}\n"

    joint = _joint(joints, where="message.role == 'assistant'")
    text = "ns.text" if joint == "''" else f"({joint}) + ns.text"
    no_question = "{%- if ns.before == 'assistant' -%}\n" + add("'user'", "''") + "{%- endif -%}\n"
    read = (
        "{%- set ns = namespace(messages=[], question='', before='') -%}\n"
        "{%- for message in messages -%}\n" + READ_MESSAGE + "{%- if ns.images -%}\n"
        "{%- set ns.text = ((ns.images | join(' ')) + '\\n' + ns.text.strip()).strip() -%}\n"
        "{%- endif -%}\n"
        "{%- if message.role == 'user' -%}{%- set ns.question = ns.question + ns.text -%}\n"
        "{%- if " + LAST_QUESTION + " -%}\n" + add("'user'", "ns.question") + "{%- set ns.question = '' -%}\n"
        "{%- endif -%}\n"
        "{%- else -%}\n"
        "{%- if message.role == 'assistant' -%}\n" + no_question + "{%- endif -%}\n" + add("message.role", text) + ""
        "{%- endif -%}\n"
        "{%- set ns.before = message.role -%}\n"
        "{%- endfor -%}\n"
    )
    if not generation.as_before_answers:
        return read + "{%- set messages = ns.messages %}\n" + own
    # Jinja drops one line break at a template's end, and spaces of a line in front of `{% endif %}`.
    whole = own.removesuffix("\n")
    written = (
        f"{{{{- written.rsplit({_quoted(ANSWER)}, 1)[0]"
        + (f"[:-{generation.space}]" if generation.space else "")
        + " -}}\n"
    )
    return (
        read + "{%- if add_generation_prompt -%}\n" + no_question + "{%- set written -%}\n"
        "{%- set add_generation_prompt = false -%}\n"
        "{%- set messages = ns.messages + "
        + added("'assistant'", _quoted(ANSWER))
        + " %}\n"
        + whole
        + "{%- endset -%}\n"
        + written
        + "{%- else -%}\n"
        "{%- set messages = ns.messages %}\n"
        + whole
        + ("{%+ endif %}" if whole.endswith((" ", "\t")) else "{% endif %}")
    )


def chat_template(
    template: Template, bos_token: str, eos_token: str, joints: Joints = NO_JOINTS, turn_joint: str = ""
) -> str:
    """The template of training as Jinja: images to the front of a question, one space apart, then a line break."""
    begin = bos_token if template.begin is None else template.begin
    end = eos_token if template.end is None else template.end
    before, after = template.prompt.split("{text}")
    before_system, after_system = template.system.split("{text}")
    later = begin if template.begin_every_turn and begin else turn_joint
    begins = f"{_quoted(begin)} if ns.turn == 0 else {_quoted(later)}"
    question = "(ns.images | join(' ')) + '\\n'"
    if template.images_only:
        question, asks = f"({question} if ns.images else '')", "ns.question != ''"
    else:
        question, asks = f"(({question} + ns.text.strip()).strip() if ns.images else ns.text)", "true"
    writes = (
        f"{{{{- {begins} -}}}}{{{{- ns.system -}}}}\n"
        f"{{{{- {_quoted(before)} -}}}}{{{{- ns.question -}}}}{{{{- {_quoted(after)} -}}}}\n"
        "{%- set ns.system = '' -%}{%- set ns.turn = ns.turn + 1 -%}\n"
        f"{{%- set ns.asked = {asks} -%}}{{%- set ns.question = '' -%}}\n"
    )
    return (
        "{%- set ns = namespace(system='', turn=0, asked=false, question='', before='') -%}\n"
        "{%- for message in messages -%}\n" + READ_MESSAGE + "{%- if message.role == 'system' -%}\n"
        f"{{%- set ns.system = {_quoted(before_system)} + ns.text + {_quoted(after_system)} -%}}\n"
        "{%- elif message.role == 'user' -%}\n"
        f"{{%- set ns.question = ns.question + {question} -%}}\n"
        "{%- if " + LAST_QUESTION + " -%}\n" + writes + "{%- endif -%}\n"
        "{%- else -%}\n"
        "{%- if ns.before == 'assistant' -%}\n" + writes + "{%- endif -%}\n"
        f"{{{{- {_joint(joints, where='ns.asked')} -}}}}{{{{- ns.text + {_quoted(end + template.separator)} -}}}}\n"
        "{%- endif -%}\n"
        "{%- set ns.before = message.role -%}\n"
        "{%- endfor -%}\n"
    )


def _joint(joints: Joints, *, where: str) -> str:
    """Jinja: what stands in front of an answer, where something does; by how the answer begins."""
    word, space, line, mark = map(_quoted, joints)
    if joints == NO_JOINTS:
        return "''"
    if len({*joints}) == 1:
        return f"{word} if {where} else ''"
    first = "ns.text[:1]"
    others = f"{line} if {first} and not {first}.strip() else {word}"
    return f"('' if not ({where}) else {space} if {first} == ' ' else {mark} if {first} == '▁' else {others})"


def _quoted(text: str) -> str:
    """A Jinja string; its escapes are JSON's."""
    return json.dumps(text)
