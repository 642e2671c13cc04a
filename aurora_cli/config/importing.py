"""Settings of `aurora import`: from somebody's own files to annotations and media of the workspace.

Paths that are relative start at the workspace. `None` means what the docstring says, never "unknown".
"""

from typing import Literal

from pydantic import Field

from aurora_cli.config.section import HtmlOutput, LocalPath, Paths, Section


class ImportSettings(Section):
    """`aurora import`."""

    sources: Paths = ()
    """Files or folders with captions: a table, a JSON file, tars, or images and videos with texts beside them."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][\w.-]*$", examples=["holiday-2024"])
    """Name of the subset in data/<split>/; none: the first source's name."""

    split: str = Field(default="vision", pattern=r"^[A-Za-z0-9][\w.-]*$")
    """Split, and so the stage, that trains on it."""

    source_format: str = "auto"
    """What the sources are, by its name on the page on importing; `auto` looks at each."""

    media_root: LocalPath | None = None
    """Folder that images and videos are named from; none: looked for beside the source, and shown."""

    image_column: str | None = None
    """Column of a table that names the images; none: guessed from its name, and shown."""

    video_column: str | None = None
    """Column of a table that names the videos; none: guessed from its name, and shown."""

    text_column: str | None = None
    """Column of a table, or key of a JSON object, that holds the captions; none: guessed from its name, and shown."""

    group_column: str | None = None
    """Column of a table whose rows with one value lie on one side of the validation split; none: the medium."""

    question_column: str | None = None
    """Column of a table that holds what is asked about each medium; none: `question` or `instruction`, else drawn."""

    rows: str | None = Field(default=None, pattern=r"^[^=]+=", examples=["split=train"])
    """`COLUMN=VALUE`: rows of a table, or Karpathy's images, that are taken; others are rejected. None: all."""

    encoding: str = "utf-8"
    """Encoding of tables and texts; UTF-16 with a byte order mark is recognised."""

    caption_lines: bool = False
    """Every line of a text beside an image or video is a caption; without, the whole text is one."""

    whole_videos: bool = False
    """Captions are about whole videos: their start and end say where a video was cut from."""

    duplicates: Literal["reject", "keep"] = "reject"
    """What becomes of a caption that the same medium has already."""

    prompts: LocalPath | None = None
    """File of questions, one a line, drawn for each record; none: a list of ours."""

    validation: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the media (or groups) that are kept for validation, in validation/<split>/<name>, with all their
    captions."""

    copy_files: bool = False
    """Copy the media instead of linking them, for sources that will not stay."""

    check_media: bool = False
    """Decode a sample of the media; report sizes, lengths and frame rates, and what cannot be decoded."""

    check_sample: int = Field(default=64, ge=1)
    """Media that `check_media` decodes, spread evenly."""

    html: HtmlOutput | None = None
    """With --dry-run: a page that shows five records with their images."""

    force: bool = False
    """Import again, whatever made what is there."""
