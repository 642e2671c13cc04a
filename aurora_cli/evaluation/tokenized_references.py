"""References that `aurora tokenize` has made tokens of: the first answer of each row of a token store."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from aurora_cli.data.token_store.folder import MERGED, SHARDS, TOKENIZER
from aurora_cli.data.token_store.labels import answer_spans
from aurora_cli.data.token_store.schema import MANIFEST, STATE_FILE
from aurora_cli.data.token_store.store import Row, open_store
from aurora_cli.errors import DataError


class TokenizedReference(NamedTuple):
    """A row as a reference."""

    id: str
    media: tuple[str, ...]
    """Paths from the workspace on, or absolute: of one medium, or of all frames of a video; none: several media."""
    is_frame_list: bool
    span: tuple[float, float] | None
    text: str | None
    """None: it has no answer."""


def store_in(folder: Path) -> Path | None:
    """The token store that a folder is, or that `aurora merge-shards` made in it."""
    stores = (folder, folder / MERGED)
    return next((each for each in stores if (each / MANIFEST).is_file() and (each / STATE_FILE).is_file()), None)


def tokenized_references(folder: Path) -> Iterator[TokenizedReference]:
    """The rows of a token store, in their order.

    Raises:
        DataError: it is damaged, or its tokenizer is not beside it.
    """
    store = open_store(folder)
    beside = folder.parents[1] if folder.parent.name == SHARDS else folder
    if not (beside / TOKENIZER).is_file():
        raise DataError(f"{beside / TOKENIZER}: is missing, and says what the tokens are", hint="aurora tokenize")
    tokenizer = Tokenizer.from_file(str(beside / TOKENIZER))
    for number in range(store.num_rows):
        (row,) = store.rows([number])
        yield _reference(row, store.media_root(number), tokenizer)


def _reference(row: Row, root: str, tokenizer: Tokenizer) -> TokenizedReference:
    answers = answer_spans(row.labels)
    text = tokenizer.decode(row.input_ids[slice(*answers[0])].tolist()).strip() if answers else None
    paths = [*(row.image or ()), *([] if row.video is None else [row.video])]
    is_frame_list = row.video is None and len(row.media_lengths) == 1 and len(paths) > 1
    is_one = is_frame_list or len(paths) == 1
    media = tuple(Path(root, path).as_posix() for path in paths) if is_one else ()
    return TokenizedReference(row.id, media, is_frame_list, row.span, text)
