"""A language model as the files beside its weights describe it: its positions, its tokenizer's chat template."""

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from aurora_cli.checkpoints.stated.towers import CONFIG_FILE
from aurora_cli.data.tokenization.tokenizer import TOKENIZER_FILES, chat_template_of, object_in
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import read_object
from aurora_cli.models.positions import positions_of


class LanguageModel(NamedTuple):
    """A language model by its description."""

    positions: int
    """Tokens of a sample at most."""
    has_template: bool
    """Its tokenizer has a chat template."""


def read_language_model(folder: Path, *, with_tokenizer: bool = True) -> LanguageModel:
    """The language model in a folder, which holds its tokenizer too unless that lies elsewhere.

    Raises:
        DataError: there is no config.json or no tokenizer, or one of them is damaged.
    """
    config = read_object(folder / CONFIG_FILE)
    if with_tokenizer and not any((folder / name).is_file() for name in TOKENIZER_FILES[:2]):
        raise DataError(
            f"{folder}: holds no tokenizer ({' or '.join(TOKENIZER_FILES[:2])})",
            hint="Put the language model's own beside it, or name its folder: --set model.tokenizer=DIR",
        )
    stretched = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope = {**stretched, "rope_type": stretched.get("rope_type", stretched.get("type"))} if stretched else {}
    stated = SimpleNamespace(max_position_embeddings=config.get("max_position_embeddings"), rope_parameters=rope)
    settings = {**object_in(folder / "special_tokens_map.json"), **object_in(folder / "tokenizer_config.json")}
    return LanguageModel(positions_of(stated).limit, chat_template_of(folder, settings) is not None)
