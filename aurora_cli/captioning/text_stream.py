"""A caption's text while its tokens come."""

from collections.abc import Callable, Sequence

WriteText = Callable[[str], None]
"""Takes a caption piece by piece."""

HALF_A_CHARACTER = "\ufffd"
"""What a tokenizer writes for the first bytes of a character whose others have not come."""


class TextStream:
    """Writes a caption's text as its tokens come, except what the next one may still change."""

    def __init__(self, text_of: Callable[[Sequence[int]], str], write: WriteText) -> None:
        self._text_of, self._write = text_of, write
        self._ids: list[int] = []
        self._written = 0

    def put(self, token: int) -> None:
        self._ids.append(token)
        text = self._text_of(self._ids)
        if not text.endswith(HALF_A_CHARACTER):
            self._write_rest(text)

    def end(self) -> None:
        self._write_rest(self._text_of(self._ids))

    def _write_rest(self, text: str) -> None:
        if len(text) > self._written:
            self._write(text[self._written :])
            self._written = len(text)
