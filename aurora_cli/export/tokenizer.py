"""The tokenizer of an export: the one that the model was trained with, and a token each for images and padding."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.processors import TemplateProcessing

from aurora_cli.constants import IMAGE
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, TEMPLATES, Template
from aurora_cli.data.tokenization.tokenizer import load_tokenizer, object_in, special_token
from aurora_cli.errors import DataError
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
    def pad_id(self) -> int:
        return self.id_of(self.pad_token)

    def id_of(self, token: str) -> int:
        """The id of a token that is known to be there."""
        return self.backend.get_vocab(with_added_tokens=True)[token]


def export_tokenizer(folder: Path) -> ExportTokenizer:
    """The tokenizer in `folder`, with the two tokens added behind its vocabulary where it lacks them.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    text = load_tokenizer(folder)
    backend = text.backend
    config = {**object_in(folder / "special_tokens_map.json"), **object_in(folder / "tokenizer_config.json")}
    unk = special_token(backend, config, "unk_token", ("<unk>",))
    pad = special_token(backend, config, "pad_token", (PAD,)) or PAD
    # The original's order: the image first, then the padding.
    backend.add_special_tokens([AddedToken(IMAGE, special=True, normalized=False)])
    backend.add_special_tokens([AddedToken(pad, special=True, normalized=False)])
    if text.bos_token is not None and backend.post_processor is None:
        begin = (text.bos_token, backend.token_to_id(text.bos_token))
        backend.post_processor = TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    longest = config.get("model_max_length")
    max_length = int(longest) if isinstance(longest, int) and longest < 1_000_000 else None  # "none" is stored as 1e30
    return ExportTokenizer(backend, text.bos_token, text.eos_token, unk, pad, max_length, folder)


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


def write_chat_template(name: str, tokenizer: ExportTokenizer, folder: Path) -> None:
    """The template of training, by its name, as Jinja."""
    if name == OWN_TEMPLATE:
        from aurora_cli.data.tokenization.chat_encoder import own_template

        own = own_template(load_tokenizer(tokenizer.source))
        text = own_chat_template(own.arguments[0], in_parts=own.in_parts)
    else:
        text = chat_template(TEMPLATES[name], tokenizer.bos_token or "", tokenizer.eos_token)
    write_text(folder / "chat_template.jinja", text)


def own_chat_template(own: str, *, in_parts: bool) -> str:
    """The tokenizer's own template, behind lines that put a question's images in front of it, as training did."""
    content = "[{'type': 'text', 'text': ns.text}]" if in_parts else "ns.text"
    return (
        "{%- set ns = namespace(messages=[]) -%}\n"
        "{%- for message in messages -%}\n" + READ_MESSAGE + "{%- if ns.images -%}\n"
        "{%- set ns.text = ((ns.images | join(' ')) + '\\n' + ns.text.strip()).strip() -%}\n"
        "{%- endif -%}\n"
        f"{{%- set ns.messages = ns.messages + [{{'role': message.role, 'content': {content}}}] -%}}\n"
        "{%- endfor -%}\n"
        "{%- set messages = ns.messages %}\n"
    ) + own


def chat_template(template: Template, bos_token: str, eos_token: str) -> str:
    """The template of training as Jinja: images to the front of a question, one space apart, then a line break."""
    begin = bos_token if template.begin is None else template.begin
    end = eos_token if template.end is None else template.end
    before, after = template.prompt.split("{text}")
    before_system, after_system = template.system.split("{text}")
    text = "" if template.images_only else "ns.text"
    question = f"(ns.images | join(' ')){_plus_break(text)}"
    return (
        "{%- set ns = namespace(system='', turn=0) -%}\n"
        "{%- for message in messages -%}\n" + READ_MESSAGE + "{%- if message.role == 'system' -%}\n"
        f"{{%- set ns.system = {_quoted(before_system)} + ns.text + {_quoted(after_system)} -%}}\n"
        "{%- elif message.role == 'user' -%}\n"
        "{%- set ns.text = ns.text.strip() if ns.images else ns.text -%}\n"
        + (
            f"{{{{- {_quoted(begin)} -}}}}\n"
            if template.begin_every_turn
            else f"{{%- if ns.turn == 0 -%}}{{{{- {_quoted(begin)} -}}}}{{%- endif -%}}\n"
        )
        + "{{- ns.system -}}{%- set ns.system = '' -%}{%- set ns.turn = ns.turn + 1 -%}\n"
        f"{{{{- {_quoted(before)} + {question} + {_quoted(after)} -}}}}\n"
        "{%- else -%}\n"
        f"{{{{- ns.text + {_quoted(end)} + {_quoted(template.separator)} -}}}}\n"
        "{%- endif -%}\n"
        "{%- endfor -%}\n"
    )


def _plus_break(text: str) -> str:
    """Behind the images: a line break if there are any, then the question's own words if they take part."""
    line_break = " + ('\\n' if ns.images else '')"
    return f"{line_break} + {text}" if text else line_break


def _quoted(text: str) -> str:
    """A Jinja string; its escapes are JSON's."""
    return json.dumps(text)
