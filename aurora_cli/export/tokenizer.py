"""The tokenizer of an export: the one that the model was trained with, and a token each for images and padding."""

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
from aurora_cli.data.tokenization.chat_encoder import ChatEncoder, own_template
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, TEMPLATES, Template
from aurora_cli.data.tokenization.tokenizer import TextTokenizer, load_tokenizer, object_in, special_token, used_ids
from aurora_cli.errors import DataError, UsageError
from aurora_cli.export.chat_templates import AS_IT_STANDS, GenerationPrompt, chat_template, own_chat_template
from aurora_cli.export.own_prompts import own_generation_prompt, own_joints
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
    unlike: list[str]
    """Earlier answers that have other ids all the same: one of a kind, in the tokenizer's own template."""
    generation: GenerationPrompt
    """How the tokenizer's own template asks, where that is the template."""
    max_length: int | None
    source: Path
    """The folder that it was loaded from."""

    @property
    def size(self) -> int:
        """Ids that it uses; the highest is one less."""
        return used_ids(self.backend)

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
    if backend.token_to_id(pad) is None:
        backend.add_special_tokens([AddedToken(pad, special=True, normalized=False)])
    if not words.begin or not words.adds_begin:
        backend.post_processor = None
    else:
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
        unlike=words.unlike,
        generation=words.generation,
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
    unlike: list[str] = []  # noqa: RUF012
    generation: GenerationPrompt = AS_IT_STANDS


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
    """Of the tokenizer's own template. The tokenizer goes on adding its BOS if the template begins with it."""
    encoder = ChatEncoder(text)
    begins = text.bos_token and encoder.template.layout(("user", "assistant"))[0].startswith(text.bos_token)
    begin = text.bos_token if begins else None
    adds_begin = begins and text.backend.encode("A").ids[:1] == [text.bos_id]
    joints, unlike = own_joints(encoder)
    return _Words(begin, bool(adds_begin), encoder.template.end, joints, "", unlike, own_generation_prompt(encoder))


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


def write_chat_template(name: str, tokenizer: ExportTokenizer, folder: Path) -> None:
    """The template of training, by its name, as Jinja."""
    write_text(folder / "chat_template.jinja", chat_template_of(name, tokenizer))


def chat_template_of(name: str, tokenizer: ExportTokenizer) -> str:
    """The template of training, by its name."""
    if name == OWN_TEMPLATE:
        own = own_template(load_tokenizer(tokenizer.source))
        source = own.arguments[0]
        return own_chat_template(
            source, in_parts=own.in_parts, joints=tokenizer.joints, generation=tokenizer.generation
        )
    begin, end = tokenizer.bos_token or "", tokenizer.eos_token
    return chat_template(TEMPLATES[name], begin, end, tokenizer.joints, tokenizer.turn_joint)
