"""Do the rows and the model belong together: the same ids for the same words, and an embedding for each."""

import contextlib
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.locate import locate
from aurora_cli.config.settings import Settings
from aurora_cli.constants import IMAGE
from aurora_cli.data.token_store.folder import TOKENIZER
from aurora_cli.data.token_store.manifest import StoreManifest
from aurora_cli.data.token_store.schema import MANIFEST
from aurora_cli.data.tokenization.boundaries import how_it_cuts
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, TEMPLATES
from aurora_cli.data.tokenization.tokenizer import TextTokenizer, load_tokenizer
from aurora_cli.errors import AuroraError, UsageError
from aurora_cli.pipeline.train.data_folders import DataFolder


class TokenIds(NamedTuple):
    """The ids that rows of a store can hold."""

    highest: int
    """Of all that its tokenizer writes as text, or its template around it."""
    used: frozenset[int]
    used_beyond_plain: dict[str, int]
    """Of these, the tokens that were added to the vocabulary."""


def check_rows(data: tuple[DataFolder, ...], settings: Settings, start: OpenedCheckpoint) -> int | None:
    """Rows that the embedding needs for the data, if the model that is started from has too few; else none.

    Raises:
        UsageError: a store was written by another tokenizer or template than the model's, or has ids that the model has
            no embedding for and `train.grow_vocabulary` does not say to make them.
    """
    of_models = _tokenizers(settings, start)
    wanted = 0
    for folder in (one.folder for one in data):
        manifest = StoreManifest.read(folder / MANIFEST)
        backend = Tokenizer.from_file(str(folder / TOKENIZER))
        ids = token_ids(backend, manifest)
        _check_template(folder, manifest, settings, start)
        for name, of_model in of_models.items():
            if manifest.tokenizer_fingerprint != of_model.fingerprint:
                _check_tokenizer(_Written(folder, manifest, backend, ids), name, of_model)
        wanted = max(wanted, _rows_wanted(folder, ids, settings, start))
    return wanted or None


class _Written(NamedTuple):
    """A store, and what wrote it."""

    folder: Path
    manifest: StoreManifest
    backend: Tokenizer
    ids: TokenIds


def _tokenizers(settings: Settings, start: OpenedCheckpoint) -> dict[str, TextTokenizer]:
    """The tokenizer of the weights, and the one that the run's exports get, by name; without what is not there."""
    found = {}
    for name in (start.tokenizer, settings.model.tokenizer):
        with contextlib.suppress(AuroraError):
            if name is not None:
                found[name] = load_tokenizer(locate(name, settings.workspace))
    return found


def _check_template(folder: Path, manifest: StoreManifest, settings: Settings, start: OpenedCheckpoint) -> None:
    of_run, of_start = settings.tokenize.template, start.prompting and start.prompting.template
    if manifest.template != of_run:
        raise UsageError(
            f"{folder}: was written with the template {manifest.template}, and tokenize.template is {of_run}: "
            "the model would be asked in other words than it learns",
            hint=f"Add --set tokenize.template={manifest.template}, or tokenize again.",
        )
    if of_start is not None and of_start != manifest.template and not settings.train.new_template:
        raise UsageError(
            f"{folder}: was written with the template {manifest.template}; {start.path} was trained with {of_start}",
            hint="Tokenize again; or, to go on in another template, add --set train.new_template=true.",
        )


def _check_tokenizer(written: _Written, name: str, of_model: TextTokenizer) -> None:
    """Another fingerprint is no fault where words have the same ids: an export adds tokens to its tokenizer."""
    ours, theirs = written.backend, of_model.backend
    same_words = ours.get_vocab(with_added_tokens=False) == theirs.get_vocab(with_added_tokens=False)
    if same_words and how_it_cuts(ours) == how_it_cuts(theirs) and not _moved(written.ids, theirs):
        return
    manifest = written.manifest
    raise UsageError(
        f"{written.folder}: was written by the tokenizer {manifest.tokenizer} "
        f"({manifest.tokenizer_fingerprint[:12]}); the model's is {name} ({of_model.fingerprint[:12]}), "
        "which has other ids for the same words",
        hint="Tokenize with the model's own: aurora tokenize --tokenizer DIR --force",
    )


def _moved(ids: TokenIds, of_model: Tokenizer) -> bool:
    """Whether an added token has another id in the model's tokenizer, or another token than `<image>` has its id."""
    theirs = {token.content: index for index, token in of_model.get_added_tokens_decoder().items()}
    by_id = {index: token for token, index in theirs.items() if token != IMAGE}
    return any(
        theirs.get(token, index) != index or by_id.get(index, token) != token
        for token, index in ids.used_beyond_plain.items()
    )


def token_ids(backend: Tokenizer, manifest: StoreManifest) -> TokenIds:
    """The ids that rows of this tokenizer and template can hold: special tokens in a text are rejected records."""
    template = TEMPLATES.get(manifest.template)
    words = "" if template is None else template.words
    words += f"{manifest.bos_token or ''}{manifest.eos_token}"
    added = backend.get_added_tokens_decoder()
    anything = manifest.template == OWN_TEMPLATE
    used_added = {
        token.content: index
        for index, token in added.items()
        if token.content != IMAGE and (not token.special or token.content in words or anything)
    }
    plain = {*backend.get_vocab(with_added_tokens=True).values()} - added.keys()
    used = frozenset({*plain, *used_added.values()})
    return TokenIds(max(used), used, used_added)


def _rows_wanted(folder: Path, ids: TokenIds, settings: Settings, start: OpenedCheckpoint) -> int:
    """Rows of a larger embedding; 0: the model's is large enough."""
    embeddings = start.config.get_text_config().vocab_size
    image_id = start.config.image_token_id
    if ids.highest < embeddings and image_id not in ids.used:
        return 0
    if settings.train.grow_vocabulary:
        return max(ids.highest + 1, embeddings)
    beyond = [f"{token} ({index})" for token, index in ids.used_beyond_plain.items() if index >= embeddings]
    raise UsageError(
        f"{folder}: its highest id is {ids.highest:,}, the language model has {embeddings:,} embeddings"
        + (f", and images have the id {image_id:,}" if image_id in ids.used else "")
        + (f"; beyond them: {', '.join(beyond[:5])}" if beyond else ""),
        hint="Tokenize with the language model's own: aurora tokenize --tokenizer DIR --force; or make embeddings for "
        "added tokens: --set train.grow_vocabulary=true",
    )
