"""The tokenizer of an export: the one that the model was trained with, and a token each for images and padding."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tokenizers import AddedToken, Tokenizer
from tokenizers.processors import TemplateProcessing

from aurora_cli.constants import IMAGE
from aurora_cli.data.tokenization.boundaries import (
    CUT,
    NO_JOINTS,
    Joints,
    add_image_token,
    cut_backend,
    joint_of,
    joints,
    with_our_templates,
)
from aurora_cli.data.tokenization.chat_encoder import own_template
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, TEMPLATES, Template
from aurora_cli.data.tokenization.tokenizer import TextTokenizer, load_tokenizer, object_in, special_token
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.atomic import write_json, write_text
from aurora_cli.io.json_files import JsonObject

PAD = "<pad>"

FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
"""What a tokenizer may consist of."""


@dataclass(frozen=True)
class ExportTokenizer:
    """A tokenizer with `<image>` and a padding token."""

    backend: Tokenizer
    bos_token: str | None
    eos_token: str
    unk_token: str | None
    pad_token: str
    end_token: str
    """Ends an answer in the template of training."""
    joints: Joints
    """What stands between a question and an earlier answer, so that both have the ids that they have alone."""
    turn_joint: str
    """What stands between the end of a turn and the next question likewise."""
    max_length: int | None
    source: Path
    """The folder that it was loaded from."""

    @property
    def size(self) -> int:
        """Ids that it uses; the highest is one less."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def image_id(self) -> int:
        return self.id_of(IMAGE)

    @property
    def end_ids(self) -> list[int]:
        """What an answer ends with: the template's end, and the tokenizer's own."""
        return [*dict.fromkeys([self.id_of(self.end_token), self.id_of(self.eos_token)])]

    @property
    def pad_id(self) -> int:
        return self.id_of(self.pad_token)

    def id_of(self, token: str) -> int:
        """The id of a token that is known to be there."""
        return self.backend.get_vocab(with_added_tokens=True)[token]


def export_tokenizer(folder: Path, template: str = "vicuna") -> ExportTokenizer:
    """The tokenizer in `folder`, with the two tokens added behind its vocabulary where it lacks them.

    Its ids are those of training by the template of that name: see `data/tokenization/boundaries.py`. It puts in front
    of a text what training began with, and nothing else.

    Raises:
        DataError: there is none, or it cannot be read.
        UsageError: the template needs a token that it has not.
    """
    text = load_tokenizer(folder)
    backend = text.backend
    config = {**object_in(folder / "special_tokens_map.json"), **object_in(folder / "tokenizer_config.json")}
    unk = special_token(backend, config, "unk_token", ("<unk>",))
    pad = special_token(backend, config, "pad_token", (PAD,)) or PAD
    if template == OWN_TEMPLATE:
        words = _own_words(text)
    else:
        words = _words_of(TEMPLATES[template], text)
        backend = with_our_templates(backend)
    # The original's order: the image first, then the padding.
    add_image_token(backend)
    backend.add_special_tokens([AddedToken(pad, special=True, normalized=False)])
    if not words.begin:
        backend.post_processor = None
    elif words.adds_begin:
        begin = (words.begin, backend.token_to_id(words.begin))
        backend.post_processor = TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    if words.joints.cut or CUT in words.turn_joint:
        backend = cut_backend(backend)
    longest = config.get("model_max_length")
    max_length = int(longest) if isinstance(longest, int) and longest < 1_000_000 else None  # "none" is stored as 1e30
    return ExportTokenizer(
        backend=backend,
        bos_token=words.begin or text.bos_token,
        eos_token=text.eos_token,
        unk_token=unk,
        pad_token=pad,
        end_token=words.end,
        joints=words.joints,
        turn_joint=words.turn_joint,
        max_length=max_length,
        source=folder,
    )


class _Words(NamedTuple):
    """What a template writes around texts."""

    begin: str | None
    """The token that a conversation begins with; none: no token of that kind."""
    adds_begin: bool
    """Whether the tokenizer has to put it in front of a text that comes without a template."""
    end: str
    joints: Joints = NO_JOINTS
    turn_joint: str = ""


def _words_of(template: Template, text: TextTokenizer) -> _Words:
    begin = text.bos_token if template.begin is None else template.begin
    end = text.eos_token if template.end is None else template.end
    if lacking := [token for token in (begin, end) if token and text.backend.token_to_id(token) is None]:
        raise UsageError(f"template: it needs a tokenizer that has {lacking[0]}")
    backend = with_our_templates(text.backend)
    prompt = template.prompt.replace("{text}", "\n" if template.images_only else "What?")
    is_begun = bool(begin) and template.begin_every_turn
    turn_joint = "" if is_begun or not template.separator else joint_of(backend, template.separator, prompt)
    return _Words(begin or None, True, end, joints(backend, prompt), turn_joint)


def _own_words(text: TextTokenizer) -> _Words:
    """Of the tokenizer's own template. The tokenizer may put its BOS in front where the template begins with it."""
    own = own_template(text)
    begins = text.bos_token and own.layout(("user", "assistant"))[0].startswith(text.bos_token)
    return _Words(text.bos_token if begins else None, False, own.end)


def write_tokenizer(tokenizer: ExportTokenizer, folder: Path) -> None:
    """As transformers reads it: `tokenizer.json` taken as it is, whatever the model's own tokenizer class would do."""
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    config: JsonObject = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.bos_token,
        "eos_token": tokenizer.eos_token,
        "unk_token": tokenizer.unk_token,
        "pad_token": tokenizer.pad_token,
        "image_token": IMAGE,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "processor_class": "LlavaProcessor",
    }
    if tokenizer.max_length is not None:
        config["model_max_length"] = tokenizer.max_length
    write_json(folder / "tokenizer_config.json", config)
    special = ("bos_token", "eos_token", "unk_token", "pad_token")
    write_json(folder / "special_tokens_map.json", {key: config[key] for key in special if config[key]})


def copy_tokenizer(source: Path, folder: Path) -> None:
    """The very files that a tokenizer was loaded from."""
    found = [source / name for name in FILES if (source / name).is_file()]
    if not found:
        raise DataError(f"{source}: holds no tokenizer")
    for file in found:
        shutil.copyfile(file, folder / file.name)


READ_MESSAGE = (
    "{%- set ns.text = '' -%}{%- set ns.images = [] -%}\n"
    "{%- if message.content is string -%}\n"
    f"{{%- set ns.images = ['{IMAGE}'] * message.content.count('{IMAGE}') -%}}\n"
    f"{{%- set ns.text = message.content.replace('{IMAGE}', '') if ns.images else message.content -%}}\n"
    "{%- else -%}\n"
    "{%- for part in message.content -%}\n"
    f"{{%- if part.type == 'image' -%}}{{%- set ns.images = ns.images + ['{IMAGE}'] -%}}\n"
    "{%- elif part.type == 'text' -%}{%- set ns.text = ns.text + part.text -%}{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- endif -%}\n"
)
"""Jinja: a message's words and images, whether it is a text or a list of parts, into `ns.text` and `ns.images`."""


LAST_QUESTION = "loop.last or messages[loop.index].role != 'user'"
"""Jinja: no other question follows this one; several in a row are one to training."""


def write_chat_template(name: str, tokenizer: ExportTokenizer, folder: Path) -> None:
    """The template of training, by its name, as Jinja."""
    if name == OWN_TEMPLATE:
        own = own_template(load_tokenizer(tokenizer.source))
        text = own_chat_template(own.arguments[0], in_parts=own.in_parts)
    else:
        begin, end = tokenizer.bos_token or "", tokenizer.eos_token
        text = chat_template(TEMPLATES[name], begin, end, tokenizer.joints, tokenizer.turn_joint)
    write_text(folder / "chat_template.jinja", text)


def own_chat_template(own: str, *, in_parts: bool) -> str:
    """The tokenizer's own template, behind lines that put a question's images in front of it, join questions in a row,
    and ask nothing before a second answer in a row, as training did.
    """

    def added(role: str, text: str) -> str:
        content = f"[{{'type': 'text', 'text': {text}}}]" if in_parts else text
        return f"{{%- set ns.messages = ns.messages + [{{'role': {role}, 'content': {content}}}] -%}}\n"

    return (
        "{%- set ns = namespace(messages=[], question='', before='') -%}\n"
        "{%- for message in messages -%}\n" + READ_MESSAGE + "{%- if ns.images -%}\n"
        "{%- set ns.text = ((ns.images | join(' ')) + '\\n' + ns.text.strip()).strip() -%}\n"
        "{%- endif -%}\n"
        "{%- if message.role == 'user' -%}{%- set ns.question = ns.question + ns.text -%}\n"
        "{%- if " + LAST_QUESTION + " -%}\n" + added("'user'", "ns.question") + "{%- set ns.question = '' -%}\n"
        "{%- endif -%}\n"
        "{%- else -%}\n"
        "{%- if message.role == 'assistant' and ns.before == 'assistant' -%}\n"
        + added("'user'", "''")
        + "{%- endif -%}\n"
        + added("message.role", "ns.text")
        + "{%- endif -%}\n"
        "{%- set ns.before = message.role -%}\n"
        "{%- endfor -%}\n"
        "{%- set messages = ns.messages %}\n"
    ) + own


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
        f"{{{{- {_joint(joints)} -}}}}{{{{- ns.text + {_quoted(end + template.separator)} -}}}}\n"
        "{%- endif -%}\n"
        "{%- set ns.before = message.role -%}\n"
        "{%- endfor -%}\n"
    )


def _joint(joints: Joints) -> str:
    """Jinja: what stands in front of an answer; nothing where nothing was asked, so that a token stands there."""
    word, space, line = map(_quoted, joints)
    if word == space == line:
        return f"{word} if ns.asked else ''"
    first = "ns.text[:1]"
    others = f"{line} if {first} and not {first}.strip() else {word}"
    return f"('' if not ns.asked else {space} if {first} in [' ', '▁'] else {others})"


def _quoted(text: str) -> str:
    """A Jinja string; its escapes are JSON's."""
    return json.dumps(text)
