"""`data:` addresses of images: a file that is written out as text (RFC 2397), as web pages and chat logs hold them."""

import base64
import binascii
import re

PREFIX = "data:"
_HEAD = re.compile(r"data:[\w.+-]*/?[\w.+-]*(;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)
_HEAD_LENGTH = 200
_BLANKS = str.maketrans("", "", " \t\r\n")

_SIGNATURES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"\xff\xd8\xff"), "jpeg"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"BM"), "bmp"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "tiff"),
    (re.compile(rb"....ftyp(avif|avis|heic|heix|mif1)", re.DOTALL), "avif"),
)


def image_type(content: bytes) -> str | None:
    """The kind of an image by its first bytes; none: it is none that is known.

    >>> image_type(b"GIF89a and so on"), image_type(b"text")
    ('gif', None)
    """
    return next((kind for signature, kind in _SIGNATURES if signature.match(content)), None)


def is_data_uri(path: str) -> bool:
    """Whether a path is none, but an image itself."""
    return path[:5].lower() == PREFIX


def image_in(uri: str) -> bytes | None:
    """The image that a `data:` address holds; none: it holds no image, or is not base64."""
    head = _HEAD.match(uri[:_HEAD_LENGTH])
    return None if head is None else decoded_image(uri[head.end() :])


def decoded_image(text: str) -> bytes | None:
    """The image that a text is in base64; none: it is none."""
    try:
        content = base64.b64decode(text.translate(_BLANKS), validate=True)
    except (binascii.Error, ValueError):
        return None
    return None if image_type(content) is None else content


def image_uri(text: str) -> str | None:
    """A `data:` address of an image in base64; none: it is no image.

    >>> image_uri("R0lGODlh")
    'data:image/gif;base64,R0lGODlh'
    """
    content = decoded_image(text)
    return None if content is None else f"{PREFIX}image/{image_type(content)};base64,{text.translate(_BLANKS)}"


def shown(path: str) -> str:
    """A path as messages name it: of a `data:` address only its beginning.

    >>> shown("a.jpg"), shown("data:image/gif;base64," + "R0lGODlh" * 10)
    ('a.jpg', 'data:image/gif;base64,R0lGODlhR0lGODlh... (102 characters)')
    """
    return f"{path[:38]}... ({len(path):,} characters)" if is_data_uri(path) and len(path) > 60 else path
