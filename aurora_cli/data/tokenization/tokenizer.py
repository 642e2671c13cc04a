"""A tokenizer from a folder or the hub: its backend, and the facts that shards depend on. Needs no transformers."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from aurora_cli.config.workspace import Workspace
from aurora_cli.constants import IMAGE, IMAGE_PLACEHOLDER
from aurora_cli.data.tokenization.sentencepiece import build_backend
from aurora_cli.errors import DataError, reason_of
from aurora_cli.hub.errors import HubRepo
from aurora_cli.hub.snapshot import fetch_snapshot
from aurora_cli.io.json_files import JsonObject, read_object

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)
"""What of a hub repository or a folder makes a tokenizer."""


@dataclass(frozen=True)
class TextTokenizer:
    """A tokenizer's backend and the few facts about it that shards depend on."""

    backend: Tokenizer
    bos_token: str | None
    eos_token: str
    fingerprint: str
    """sha256 of what it was made from."""
    serialized: str
    """What a `tokenizer.json` of it holds."""
    chat_template: str | None = None
    """Jinja that writes a conversation out."""
    special_tokens: dict[str, str] = field(default_factory=dict)
    """By their names in the configuration (`bos_token`, ...): what a chat template may name."""

    @property
    def bos_id(self) -> int | None:
        return None if self.bos_token is None else self.backend.token_to_id(self.bos_token)

    @property
    def eos_id(self) -> int | None:
        return self.backend.token_to_id(self.eos_token)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, no special tokens added."""
        return self.backend.encode(text, add_special_tokens=False).ids


def used_ids(backend: Tokenizer) -> int:
    """Ids that the tokenizer uses; the highest is one less."""
    return max(backend.get_vocab(with_added_tokens=True).values()) + 1


def decode(backend: Tokenizer, ids: Iterable[int]) -> str:
    """The text with its special tokens; `<image>` for every placeholder."""
    texts, run = [], []
    for token in [*ids, IMAGE_PLACEHOLDER]:
        if token != IMAGE_PLACEHOLDER:
            run.append(int(token))
            continue
        texts.append(backend.decode(run, skip_special_tokens=False))
        run = []
    return IMAGE.join(texts)


def find_tokenizer(name: str, workspace: Workspace) -> TextTokenizer:
    """The tokenizer in the folder `name`, or in the hub's repository of that name.

    Raises:
        UsageError: there is neither.
        HostError: the hub cannot be reached.
        DataError: it is not a tokenizer.
    """
    folder = workspace.path(name)
    if folder.is_file():
        folder = folder.parent
    if folder.is_dir():
        return load_tokenizer(folder)
    repo = HubRepo(name, "tokenizer", instead="a folder: --tokenizer FOLDER")
    return load_tokenizer(fetch_snapshot(repo, TOKENIZER_FILES))


def load_tokenizer(folder: Path) -> TextTokenizer:
    """The tokenizer in a folder: `tokenizer.json` as it is, or one rebuilt from a bare `tokenizer.model`.

    Raises:
        DataError: there is none, or it cannot be read, or it has no end-of-text token.
    """
    source = next((folder / name for name in TOKENIZER_FILES[:2] if (folder / name).is_file()), None)
    if source is None:
        raise DataError(f"{folder}: holds no tokenizer.json and no tokenizer.model")
    config = {**object_in(folder / "special_tokens_map.json"), **object_in(folder / "tokenizer_config.json")}
    try:
        data = source.read_bytes()
        if source.suffix == ".json":
            serialized = data.decode("utf-8")
            backend = Tokenizer.from_str(serialized)
        else:
            backend = build_backend(data, config)
            add_tokens(backend, folder, config)
            serialized = backend.to_str()
    except DataError:
        raise
    except Exception as error:  # `tokenizers` raises bare Exceptions
        raise DataError(f"{source}: is not a tokenizer that can be read: {error}") from error
    backend.no_truncation()
    backend.no_padding()
    bos = special_token(backend, config, "bos_token", ("<s>", "<|begin_of_text|>"))
    eos = special_token(backend, config, "eos_token", ("</s>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>"))
    if eos is None:
        raise DataError(f"{folder}: the tokenizer names no eos_token that is in its vocabulary")
    facts = json.dumps([bos, eos, config.get("legacy"), config.get("add_prefix_space")]).encode()
    named = {name: text for name in config if name.endswith("_token") and (text := token_text(config[name]))}
    special = {"eos_token": eos, **({"bos_token": bos} if bos else {}), **named}
    return TextTokenizer(
        backend=backend,
        bos_token=bos,
        eos_token=eos,
        fingerprint=hashlib.sha256(data + facts).hexdigest(),
        serialized=serialized,
        chat_template=chat_template_of(folder, config),
        special_tokens=special,
    )


def chat_template_of(folder: Path, config: JsonObject) -> str | None:
    """The template in a file of its own (`.json`: a processor's), else in the configuration; of several, the default.

    Raises:
        DataError: the file cannot be read.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: cannot be read: {reason_of(error)}") from error
    given = config.get("chat_template") or object_in(folder / "chat_template.json").get("chat_template")
    if isinstance(given, list):
        given = {entry.get("name"): entry.get("template") for entry in given if isinstance(entry, dict)}
    if isinstance(given, dict):
        given = given.get("default")
    return given if isinstance(given, str) else None


def object_in(path: Path) -> JsonObject:
    """The object in one of the files beside a tokenizer; empty if it has no such file."""
    return read_object(path) if path.is_file() else {}


def token_text(value: object) -> str | None:
    """A special token's text; configs hold it as a string or as an object."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def special_token(backend: Tokenizer, config: JsonObject, name: str, guesses: tuple[str, ...]) -> str | None:
    """The token that the config names; if it does not name it, the first guess that is in the vocabulary."""
    candidates = (token_text(config[name]),) if name in config else guesses
    return next((text for text in candidates if text and backend.token_to_id(text) is not None), None)


def add_tokens(backend: Tokenizer, folder: Path, config: JsonObject) -> None:
    """Tokens that the files beside a `tokenizer.model` add to it, in the order of their ids."""
    added = {content: int(index) for content, index in object_in(folder / "added_tokens.json").items()}
    listed = config.get("added_tokens_decoder", {})
    added |= {entry["content"]: int(index) for index, entry in listed.items()}
    named = [token_text(config.get(f"{name}_token")) for name in ("bos", "eos", "unk", "pad")]
    special = {text for text in named if text} | {entry["content"] for entry in listed.values() if entry.get("special")}
    texts = [*sorted(added, key=lambda content: added[content]), *sorted(special - added.keys())]
    backend.add_tokens([AddedToken(text, normalized=False, special=text in special) for text in texts])
