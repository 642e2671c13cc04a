"""Settings of the steps before training: from archives to the token store.

Paths that are relative start at the workspace. `None` means what the docstring says, never "unknown".
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from aurora_cli.config.section import LocalPath, Names, OutputFolder, Paths, Section
from aurora_cli.config.share import ShareName


class DownloadSettings(Section):
    """`aurora download`."""

    repo: str = "wchai/AuroraCap-trainset"
    """Data set on the hub, or a local folder in the same layout."""

    revision: str = "main"
    """Branch, tag or commit."""

    splits: Names = ()
    """Splits to take (projection, vision, language); none: all."""

    subsets: Names = ()
    """Subsets to take; none: all."""

    annotations_only: bool = False
    """Only the jsonl files, no archives."""

    include: Names = ()
    """Take only files that match one of these globs."""

    exclude: Names = ()
    """Leave out files that match one of these globs."""

    output: OutputFolder = Path("data")
    """Where to."""

    workers: int = Field(default=4, ge=1)
    """Files at a time."""

    retries: int = Field(default=5, ge=0)
    """Times that a file is asked for again without a new byte of it having come."""

    retry_wait_s: float = Field(default=1.0, ge=0.0)
    """Seconds before the first of these; doubled for each next, at most 60; what a server asks for counts more."""

    sync: bool = True
    """Make a file durable before it gets its name; without, a power cut can damage what came last."""

    verify: bool = False
    """Hash what is already here again, and fetch what differs."""

    shard: ShareName | None = Field(default=None, examples=["0/8"])
    """Fetch one share of the files, I/N, with I from 0 to N-1; `auto` takes I and N from SLURM's array or a launcher;
    none: all files."""


class MergeTarsSettings(Section):
    """`aurora merge-tars`."""

    folders: Paths = (Path("data"),)
    """Where the parts are, searched to the bottom."""

    delete_parts: bool = False
    """Remove the parts of an archive once it is whole on disk."""

    sync: bool = True
    """Wait until an archive is on the disk itself; without, a power cut soon after can leave it with holes."""


class ExtractSettings(Section):
    """`aurora extract`."""

    inputs: Paths = (Path("data"),)
    """Archives, parts, or folders that hold them."""

    output: OutputFolder | None = None
    """Where the members go; none: the folder that the archive lies in."""

    layout: Literal["files", "index"] = "files"
    """`files` unpacks; `index` keeps one seekable archive and an index beside it."""

    delete_archives: bool = False
    """Remove an archive once every member is on disk and nothing in it was refused."""

    scratch: LocalPath | None = None
    """Folder on a disk of this machine in which an archive is unpacked or indexed, before what came of it is moved to
    where it belongs, on another disk; it holds `workers` archives at a time. None: all is done there."""

    sync: bool = True
    """Make groups of members durable as they are written; without, a power cut can lose all of an archive."""

    workers: int = Field(default=2, ge=1)
    """Archives at a time."""

    shard: ShareName | None = Field(default=None, examples=["0/8"])
    """Extract one share of the archives, I/N, with I from 0 to N-1; `auto` takes I and N from SLURM's array or a
    launcher; none: all archives."""

    max_inflation: float = Field(default=100.0, ge=1.0)
    """An archive that grows beyond 16 GiB and beyond this many times its own size is taken for a bomb, and left."""


class TokenizeSettings(Section):
    """`aurora tokenize`."""

    inputs: Paths = ()
    """Annotation files (.jsonl, .jsonl.gz, .json); none: every one under data/."""

    splits: Names = ()
    """Of the workspace's files, only these splits; none: all."""

    subsets: Names = ()
    """Of the workspace's files, only these subsets; none: all."""

    output: OutputFolder | None = None
    """Folder for the shards; none: tokenized/<split>/<subset>."""

    batch_size: int = Field(default=100_000, ge=1)
    """Records a shard."""

    record_schema: str = "auto"
    """Form of the records, by its name in the page on record keys; `auto` recognises each by its fields."""

    template: str = "vicuna"
    """How a conversation is written out; `tokenizer` is the tokenizer's own chat template."""

    max_length: int = Field(default=4096, ge=2)
    """Tokens a record, an image or frame counting one; the rest is cut off."""

    frames: int = Field(default=8, ge=1)
    """Frames that a `<video>` stands for."""

    frame_lists: Literal["separate", "clip"] = "separate"
    """What a list of images is: separate images, or the frames of one video."""

    image_places: Literal["front", "kept"] = "front"
    """Where the images of a message go: to its front, or where they stand between its words (interleaved)."""

    clip_subsets: Names = ()
    """Subsets whose lists of images are videos, whatever `frame_lists` says."""

    media_root: LocalPath | None = None
    """Folder (or tar with an index) that images and videos are named from; none: the annotation file's."""

    workers: int | None = Field(default=None, ge=1)
    """Processes; none: one a core, and one for a small file."""

    check_media: bool = False
    """Reject records of which an image or video is not there, as a file or in an indexed archive."""

    on_error: Literal["reject", "stop"] = "reject"
    """What to do with a bad record: list it in rejected.jsonl, or stop with exit 3."""

    force: bool = False
    """Make all shards again, whatever made those that are there."""

    shard: ShareName | None = Field(default=None, examples=["0/8"])
    """Make one share of the shards, I/N, with I from 0 to N-1; `auto` takes I and N from SLURM's array or a launcher;
    none: all shards."""


class MergeShardsSettings(Section):
    """`aurora merge-shards`."""

    folders: Paths = ()
    """Folders that `tokenize` wrote; none: every one in the workspace."""

    output: OutputFolder | None = None
    """Where to; none: `merged` in the folder."""

    copy_files: bool = False
    """Copy the files instead of linking them, for another filesystem."""
