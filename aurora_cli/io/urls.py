"""URLs of objects in buckets, and their parts."""

import re

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL | re.IGNORECASE)
_OTHERS = ("http", "https", "ftp", "file", "local", "data")
"""Those that other rooms read, or refuse, by rules of their own."""


def is_url(name: object) -> bool:
    """Whether a name means an object, or a folder of objects, in a bucket.

    >>> [is_url(name) for name in ("s3://b/a.mp4", "memory://a", "https://x.org/a", "s3:/b", "a/b.mp4")]
    [True, True, False, False, False]
    """
    scheme = scheme_of(name)
    return scheme is not None and scheme not in _OTHERS


def scheme_of(name: object) -> str | None:
    """What stands before `://`, in small letters; None: it is written as a path.

    >>> scheme_of("S3://b/a.mp4"), scheme_of("https://x.org/a"), scheme_of("a/b.mp4")
    ('s3', 'https', None)
    """
    found = _URL.match(name) if isinstance(name, str) else None
    return None if found is None else found[1].lower()


def protocol_of(url: str) -> str:
    return url.partition("://")[0].lower()


def join(folder: str, name: str) -> str:
    """The URL of what a name means below a folder's: as paths do, but never above the bucket.

    >>> join("s3://b/lists", "clips/./a.mp4"), join("s3://b/lists/", "../clips/a.mp4"), join("s3://b/x", "/y/a.mp4")
    ('s3://b/lists/clips/a.mp4', 's3://b/clips/a.mp4', 's3://b/y/a.mp4')
    """
    protocol, bucket, key = parts_of(folder)
    steps: list[str] = [] if name.startswith("/") else [step for step in key.split("/") if step]
    for step in name.split("/"):
        if step == "..":
            del steps[-1:]
        elif step not in ("", "."):
            steps.append(step)
    return f"{protocol}://{bucket}/{'/'.join(steps)}"


def parts_of(url: str) -> tuple[str, str, str]:
    """Protocol, bucket and key.

    >>> parts_of("s3://bucket/a/b.jsonl")
    ('s3', 'bucket', 'a/b.jsonl')
    """
    bucket, _, key = url.partition("://")[2].partition("/")
    return protocol_of(url), bucket, key


def parent_of(url: str) -> str:
    """
    >>> parent_of("s3://b/lists/a.jsonl"), parent_of("s3://b/a.jsonl")
    ('s3://b/lists/', 's3://b/')
    """
    protocol, bucket, key = parts_of(url)
    above = key.rstrip("/").rpartition("/")[0]
    return f"{protocol}://{bucket}/{above}{'/' if above else ''}"


def name_of(url: str) -> str:
    """
    >>> name_of("s3://b/lists/a.jsonl"), name_of("s3://b/lists/")
    ('a.jsonl', 'lists')
    """
    return url.rstrip("/").rpartition("/")[2]


def same_bucket(url: str, other: str) -> bool:
    return parts_of(url)[:2] == parts_of(other)[:2]
