"""The chat template of a GGUF file: that of training, reading messages as llama.cpp's server sends them.

Its server puts a mark of its own (`<__media__>`, or `<__media_` and letters that change with every start, and `__>`)
where an image was, among the words or as a part of its own. As in training, images go in front of the words.
"""

from pathlib import Path
from typing import Any

from aurora_cli.data.tokenization.boundaries import CUT
from aurora_cli.export.chat_templates import READ_MESSAGE
from aurora_cli.export.llama_cpp.files import require_gguf
from aurora_cli.export.tokenizer import ExportTokenizer, chat_template_of

MARK = "<__media__>"
"""Where an image goes, unless the server says otherwise."""

READ_MARKS = (
    "{%- set ns.text = '' -%}{%- set ns.images = [] -%}{%- set ns.whole = '' -%}\n"
    "{%- if message.content is string -%}{%- set ns.whole = message.content -%}\n"
    "{%- else -%}\n"
    "{%- for part in message.content -%}\n"
    "{%- if part.text is defined -%}{%- set ns.whole = ns.whole + part.text -%}\n"
    f"{{%- else -%}}{{%- set ns.whole = ns.whole + '{MARK}' -%}}{{%- endif -%}}\n"
    "{%- endfor -%}\n"
    "{%- endif -%}\n"
    "{%- for piece in ns.whole.split('<__media') -%}\n"
    "{%- if loop.first -%}{%- set ns.text = piece -%}\n"
    "{%- else -%}\n"
    "{%- set mark = piece.split('__>')[0] + '__>' -%}\n"
    "{%- set ns.images = ns.images + ['<__media' + mark] -%}\n"
    "{%- set ns.text = ns.text + piece[mark | length:] -%}\n"
    "{%- endif -%}\n"
    "{%- endfor -%}\n"
)
"""Jinja: a message's words and images, into `ns.text` and `ns.images`, as `READ_MESSAGE` does for transformers."""


def chat_template(name: str, tokenizer: ExportTokenizer) -> tuple[str, list[str]]:
    """The template of training, by its name, and what a user should know of it."""
    text = chat_template_of(name, tokenizer).replace(READ_MESSAGE, READ_MARKS)
    if CUT not in text and "\\ue002" not in text:
        return text, []
    plain = text.replace(CUT, "").replace("\\ue002", "")
    return plain, [
        "an earlier answer of a chat may have other ids in llama.cpp than in training: it joins it to its question"
    ]


def stored_template(file: Path) -> str:
    """The chat template in a GGUF file."""
    reader: Any = require_gguf(file.name).GGUFReader(file)
    return reader.fields["tokenizer.chat_template"].contents()


def rendered(file: Path, question: str, images: int) -> str:
    """A question about so many images, as the file's template asks it, with a mark for each image."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    parts = [*({"type": "text", "text": MARK} for _ in range(images)), {"type": "text", "text": question}]
    messages = [{"role": "user", "content": parts}]
    return environment.from_string(stored_template(file)).render(messages=messages, add_generation_prompt=True)
