"""A caption as a line that a person reads."""

from aurora_cli.captioning.result import Caption, Part


def line_of(caption: Caption) -> str:
    """A caption as a person reads it."""
    return f"{start_of_line(caption.media, caption.span)}{caption.caption}"


def start_of_line(media: str, span: Part | None = None) -> str:
    """The line of a caption up to where the caption begins.

    >>> start_of_line("a.png"), start_of_line("a.mp4", (3.0, 7.5)), start_of_line("a.mp4", (3.0, None))
    ('a.png: ', 'a.mp4, 3 to 7.5 s: ', 'a.mp4, from 3 s: ')
    """
    if span is None:
        return f"{media}: "
    return f"{media}, from {span[0]:g} s: " if span[1] is None else f"{media}, {span[0]:g} to {span[1]:g} s: "
