"""An answer's text while its tokens come: nothing is sent that the next token, or a stop text, would take back."""

from collections.abc import Callable, Sequence

from aurora_cli.captioning.text_stream import HALF_A_CHARACTER


class AnswerText:
    """The text of the ids so far, up to the first stop text.

    >>> answer = AnswerText(lambda ids: "".join(map(chr, ids)), ["STOP"])
    >>> [answer.add(ord(letter)) for letter in "aSTbSTOP"], answer.has_stopped
    (['a', '', '', 'STb', '', '', '', ''], True)
    """

    def __init__(self, text_of: Callable[[Sequence[int]], str], stops: Sequence[str]) -> None:
        self._text_of, self._stops = text_of, stops
        self.ids: list[int] = []
        self.text = ""
        """What was given out."""
        self.has_stopped = False
        """By a stop text, which is no part of the answer."""

    def add(self, token: int) -> str:
        """One more token; the piece of text that is certain by it."""
        self.ids.append(token)
        whole = self._text_of(self.ids)
        found = [at for stop in self._stops if (at := whole.find(stop)) >= 0]
        if found:
            self.has_stopped = True
            return self._give_out(whole[: min(found)].rstrip())
        if whole.endswith(HALF_A_CHARACTER):
            return ""
        return self._give_out(whole[: len(whole) - _begun(whole, self._stops)])

    def end(self) -> str:
        """The rest, when no token comes any more."""
        return "" if self.has_stopped else self._give_out(self._text_of(self.ids))

    def _give_out(self, certain: str) -> str:
        piece = certain[len(self.text) :]
        self.text += piece
        return piece


def _begun(text: str, stops: Sequence[str]) -> int:
    """How many characters at its end may be the beginning of a stop text.

    >>> _begun("so it en", ["end", "nose"]), _begun("so", ["end"])
    (2, 0)
    """
    longest = max((len(stop) for stop in stops), default=0)
    for length in range(min(longest - 1, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return length
    return 0
